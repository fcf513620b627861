"""Adapters and bases of others: each of the table is refused in a line, at once, and honest ones pass."""

import io
import json
import os
import re
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapter_samples import MODEL, Tensors, adapter_config, adapter_tensors, tensor_name, write_adapter, write_base
from attack_table import Attack, every
from safetensors.numpy import load_file, save_file
from test_regular_file import bound_socket

import acquire_base
import acquire_raw
import stage_adapter
import take_megatron
from adapter_build.core.faults import run
from adapter_build.lineage.results_folder import BUNDLE
from adapter_build.serving.adapter_store import AdapterStore
from adapter_build.serving.engine_supervisor import refusal

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"
SECONDS = 20  # far more than any row takes on a busy machine, and far less than for ever
FIRST_A, FIRST_B = tensor_name(0, "k_proj", "A"), tensor_name(0, "k_proj", "B")


class Place:
    """A base, a model store with the sound adapter `law`, and what was made of it; each row is tried on programs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_base(root / "base")
        self.law = root / "loras" / "law"
        write_adapter(self.law)
        (root / "copies").mkdir()
        self.programs: list[Callable[[Place, Any], str]] = [staged, followed]

    @property
    def base_weights(self) -> Path:
        return self.root / "base" / "model.safetensors"


def said(program: Callable[[], None], capsys: Any, *arguments: object) -> str:
    """Run a step script's `main` as its command line would; return the line that refuses, "" where none does."""
    before, sys.argv = sys.argv, ["program", *map(str, arguments)]
    try:
        run(program)
    except SystemExit as end:
        assert end.code == 2
    finally:
        sys.argv = before
    error = capsys.readouterr().err
    assert "Traceback" not in error and error.count("\n") <= 1
    return error


def staged(place: Place, capsys: Any) -> str:
    """Stage the adapter: nothing lies in the store that was refused."""
    out = place.root / "staged"
    out.mkdir()
    files = (CONFIG, WEIGHTS, CARD)
    line = said(
        stage_adapter.main, capsys, "--adapter", "law", "--adapter-files", *(place.law / name for name in files),
        "--base", "tiny", "--base-config", place.root / "base/config.json", "--base-weights", place.base_weights,
        "--base-model", MODEL, "--max-rank", "8", "--staged", *(out / name for name in files),
    )  # fmt: skip
    assert len(list(out.iterdir())) == (0 if line else 3)
    return line


def followed(place: Place, capsys: Any) -> str:
    """Look at the model store as a server does: what is refused is so once, and leaves no copy; `sound` is served."""
    write_adapter(place.law.parent / "sound", tensors=adapter_tensors(seed=2))
    store = AdapterStore(
        place.law.parent, place.root / "copies", "tiny", MODEL, place.root / "base/config.json", 8, [place.base_weights]
    )
    found = {change.name: change for change in store.look(settled=False)}
    assert found.pop("sound").copy
    assert len(list((place.root / "copies").iterdir())) == 1 + sum(not change.refused for change in found.values())
    assert [*store.look(), *store.look()] == []  # said once
    return next((refusal(*change[::2]) for change in found.values() if change.refused), "")


def acquired(place: Place, capsys: Any) -> str:
    """Acquire the base from the user's own folder."""
    files = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    out = place.root / "acquired"
    out.mkdir()
    line = said(
        acquire_base.main, capsys, "--base", "tiny", "--source-files", *(place.root / "base" / name for name in files),
        "--files", *(out / name for name in files),
    )  # fmt: skip
    assert not line or not list(out.iterdir())
    return line


def read_raw(place: Place, capsys: Any) -> str:
    """Acquire raw records of a file."""
    out = place.root / "records.jsonl"
    line = said(
        acquire_raw.main, capsys, "--kind", "file", "--source", place.root / "raw.json", "--sha256", "0" * 64,
        "--records", out,
    )  # fmt: skip
    assert not out.exists()
    return line


def taken(place: Place, capsys: Any) -> str:
    """Take a Megatron .nemo that somebody has."""
    line = said(take_megatron.main, capsys, "--source", place.root / "base.nemo", "--nemo", place.root / "out.nemo")
    assert not list(place.root.glob("out*"))
    return line


def config(**changes: Any) -> Callable[[Place], object]:
    """Change adapter_config.json."""
    return lambda place: (place.law / CONFIG).write_text(json.dumps(adapter_config(**changes)))


def text(change: Callable[[str], str]) -> Callable[[Place], object]:
    """Change the text of adapter_config.json."""
    return lambda place: (place.law / CONFIG).write_text(change(json.dumps(adapter_config())))


def weights(change: Callable[[Tensors], Tensors], **changes: Any) -> Callable[[Place], None]:
    """Change the tensors, and adapter_config.json."""

    def make(place: Place) -> None:
        write_adapter(place.law, adapter_config(**changes), change(adapter_tensors()))

    return make


def times(a: float, b: float) -> Callable[[Tensors], Tensors]:
    """Multiply every A and every B."""
    return lambda tensors: {
        name: (value * np.float32(a if ".lora_A." in name else b)).astype(np.float32) for name, value in tensors.items()
    }


def apart(tensors: Tensors) -> Tensors:
    """Let A live in the first half of the ranks and B in the other: neither is zero, every product is."""
    for name, value in tensors.items():
        if ".lora_A." in name:
            value[2:] = 0
        else:
            value[:, :2] = 0
    return tensors


def half(tensors: Tensors) -> Tensors:
    """Make weights of float16, one of which is beyond it."""
    made = {name: value.astype(np.float16) for name, value in tensors.items()}
    with np.errstate(over="ignore"):
        made[FIRST_B][1, 1] = np.float32(70_000)
    return made


def another(name: str, make: Callable[[Path], object], *programs: Callable[[Place, Any], str]) -> Callable[..., None]:
    """Put something else in the place of a file; by default that of a store, which the store alone reads."""

    def put(place: Place) -> None:
        path = place.root / name
        path.unlink(missing_ok=True)
        make(path)
        place.programs = list(programs) or [followed]

    return put


def sparse(path: Path, head: bytes = b"") -> None:
    """Make a file of 3 GB that takes no room."""
    path.write_bytes(head)
    os.truncate(path, 3 * 2**30)


def sparse_with_header(path: Path) -> None:
    """Claim one tensor of 3 GB, as the header of a sound file would."""
    header = json.dumps({FIRST_A: {"dtype": "F32", "shape": [2**29 + 2**28, 1], "data_offsets": [0, 3 * 2**30]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    os.truncate(path, 8 + len(header) + 3 * 2**30)


def beyond(path: Path) -> None:
    """Make a safetensors file of a tensor's size whose header names another, and much more of it than there is."""
    header = b'{"a": {"dtype": "F32", "shape": [9223372036854775807], "data_offsets": [0, 36893488147419103228]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def tar(path: Path, **changes: Any) -> None:
    """Make a .nemo whose configuration has `changes` in its tar header."""
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("model_config.yaml")
        for name, value in changes.items():
            setattr(entry, name, value)
        archive.addfile(entry, io.BytesIO(b"\0" * 16))


def claims_terabytes(path: Path) -> None:
    """Make a .nemo whose configuration is a GNU sparse member: sixteen bytes that stand for a terabyte of zeros."""
    tar(
        path,
        size=16,
        pax_headers={"GNU.sparse.size": str(2**40), "GNU.sparse.map": "0,16", "GNU.sparse.numblocks": "1"},
    )


def name_of_two_lines(place: Place) -> None:
    """Give a folder a name that would add a line to what a server says."""
    place.law.rename(place.law.with_name("law\nserved: all"))
    place.programs = [followed]


def folder_linked(to: str) -> Callable[[Place], None]:
    """Put a link in the place of an adapter's folder."""

    def put(place: Place) -> None:
        place.law.rename(place.root / "elsewhere")
        place.law.symlink_to(to)
        place.programs = [followed]

    return put


FIFO, DIRECTORY = os.mkfifo, Path.mkdir
LAW = "loras/law"
MADE: dict[str, Callable[[Place], object]] = {
    # The scale.
    "alpha_1e30": config(lora_alpha=1e30),
    "alpha_1e6": config(lora_alpha=1e6),
    "alpha_just_too_large": config(lora_alpha=1025),
    "alpha_largest_float": config(lora_alpha=sys.float_info.max),
    "alpha_no_float": config(lora_alpha=10**400),
    "alpha_denormal": config(lora_alpha=5e-324),
    "alpha_1e_30": config(lora_alpha=1e-30),
    "alpha_zero": config(lora_alpha=0),
    "alpha_minus_zero": config(lora_alpha=-0.0),
    "alpha_negative": config(lora_alpha=-8),
    "alpha_nan": config(lora_alpha=float("nan")),
    "alpha_infinity": config(lora_alpha=float("inf")),
    "alpha_true": config(lora_alpha=True),
    "alpha_text": config(lora_alpha="8"),
    "alpha_null": config(lora_alpha=None),
    "alpha_list": config(lora_alpha=[8]),
    "alpha_rslora": config(lora_alpha=1000, use_rslora=True),
    "alpha_pattern": config(alpha_pattern={"q_proj": 1e30}),
    "rank_pattern": config(rank_pattern={"layers.0.self_attn.q_proj": 2}),
    # The weights.
    "weights_1e_30": weights(times(1e-30, 1e-30)),
    "b_1e_30": weights(times(1, 1e-30)),
    "b_denormal": weights(times(1, 1e-45)),
    "b_1e_9_with_least_alpha": weights(times(1e-3, 1e-3), lora_alpha=0.0005),
    "ranks_apart": weights(apart),
    "weights_of_size_40": weights(times(10, 10)),
    "alpha_and_weights_together": weights(times(2, 1), lora_alpha=1000),
    "product_of_one_layer": weights(lambda tensors: tensors | {FIRST_B: 20 * tensors[FIRST_B]}),
    "a_weight_of_1e30": weights(lambda tensors: times(1e30, 1e-30)(tensors)),
    "float16_overflow": weights(half),
    # What PEFT calls other methods, and options of LoRA that change what is computed.
    "pissa": config(init_lora_weights="pissa"),
    "pissa_niter": config(init_lora_weights="pissa_niter_16"),
    "olora": config(init_lora_weights="olora"),
    "corda": config(init_lora_weights="corda", corda_config={"corda_method": "kpm"}),
    "loftq": config(init_lora_weights="loftq", loftq_config={"loftq_bits": 4}),
    "loftq_trace": config(loftq_config={"loftq_bits": 4}),
    "dora": config(use_dora=True),
    "dora_one": config(use_dora=1),
    "dora_zero": config(use_dora=0),
    "dora_text": config(use_dora="false"),
    "dora_other_case": config(USE_DORA=True),
    "dora_nested": config(config={"use_dora": True}),
    "vera": config(peft_type="VERA"),
    "loha": config(peft_type="LOHA"),
    "ia3": config(peft_type="IA3"),
    "lora_in_small_letters": config(peft_type="lora"),
    "peft_type_null": config(peft_type=None),
    "modules_to_save": config(modules_to_save=["lm_head"]),
    "layer_replication": config(layer_replication=[[0, 2], [1, 2]]),
    "eva_redistributed": config(init_lora_weights="eva", eva_config={"rho": 2.0}, rank_pattern={"q_proj": 6}),
    "trainable_tokens": config(trainable_token_indices=[0]),
    "trainable_tokens_by_module": config(trainable_token_indices={"embed_tokens": [0]}),
    "bdlora": config(use_bdlora={}),
    "bias_all": config(bias="all"),
    "lora_bias": config(lora_bias=True),
    "target_parameters": config(target_parameters=["q_proj.weight"]),
    "rank_null": config(r=None),
    "rank_float": config(r=4.0),
    "targets_upper_case": config(target_modules=["Q_PROJ"]),
    "targets_text": config(target_modules="all-linear"),
    "unknown_zero": config(new_method=0),
    "unknown_empty_text": config(new_method=""),
    "unknown_nested": config(new_config={"inner": None}),
    "key_twice": text(lambda whole: whole.replace('"r": 4', '"r": 4, "r": 400')),
    "deep": text(lambda whole: whole[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    "cut_off": text(lambda whole: whole[:-1]),
    # Files that are none.
    "fifo_as_config": another(f"{LAW}/{CONFIG}", FIFO, staged, followed),
    "fifo_as_weights": another(f"{LAW}/{WEIGHTS}", FIFO, staged, followed),
    "fifo_as_card": another(f"{LAW}/{CARD}", FIFO, staged),
    "fifo_as_bundle": another(f"{LAW}/{BUNDLE}", FIFO),
    "socket_as_weights": another(f"{LAW}/{WEIGHTS}", bound_socket, staged, followed),
    "socket_as_bundle": another(f"{LAW}/{BUNDLE}", bound_socket),
    "folder_as_weights": another(f"{LAW}/{WEIGHTS}", DIRECTORY, staged, followed),
    "folder_as_bundle": another(f"{LAW}/{BUNDLE}", DIRECTORY),
    "link_to_a_device": another(f"{LAW}/{WEIGHTS}", lambda path: path.symlink_to("/dev/zero"), staged),
    "link_to_a_device_in_a_store": another(f"{LAW}/{WEIGHTS}", lambda path: path.symlink_to("/dev/zero")),
    "bundle_linked_to_a_secret": another(f"{LAW}/{BUNDLE}", lambda path: path.symlink_to("/etc/passwd")),
    "bundle_linked_to_nothing": another(f"{LAW}/{BUNDLE}", lambda path: path.symlink_to("nothing")),
    "linked_folder": folder_linked("../elsewhere"),
    "folder_linked_to_nothing": folder_linked("nothing"),
    "folder_linked_to_itself": folder_linked("law"),
    "name_of_two_lines": name_of_two_lines,
    "sparse_weights": another(f"{LAW}/{WEIGHTS}", sparse, staged, followed),
    "sparse_weights_with_header": another(f"{LAW}/{WEIGHTS}", sparse_with_header, staged, followed),
    "sparse_config": another(f"{LAW}/{CONFIG}", sparse, staged, followed),
    "sparse_bundle": another(f"{LAW}/{BUNDLE}", sparse),
    "header_beyond_the_file": another(f"{LAW}/{WEIGHTS}", beyond, staged, followed),
    "fifo_as_base": another("base/model.safetensors", FIFO, acquired),
    "sparse_base": another("base/model.safetensors", sparse, acquired),
    "fifo_as_tokenizer": another("base/tokenizer.json", FIFO, acquired),
    "sparse_tokenizer": another("base/tokenizer.json", sparse, acquired),
    "fifo_as_raw_data": another("raw.json", FIFO, read_raw),
    "device_as_raw_data": another("raw.json", lambda path: path.symlink_to("/dev/zero"), read_raw),
    "fifo_as_nemo": another("base.nemo", FIFO, taken),
    "sparse_nemo": another("base.nemo", sparse, taken),
    "nemo_of_terabytes": another("base.nemo", claims_terabytes, taken),
}


@every("adapters")
def test_it_is_refused_in_one_line_at_once(tmp_path: Path, capsys: Any, attack: Attack) -> None:
    place = Place(tmp_path)
    MADE[attack.name](place)
    for program in place.programs:
        start = time.monotonic()
        line = program(place, capsys)
        assert re.search(attack.says, line), line
        assert time.monotonic() - start < SECONDS


HONEST: dict[str, Callable[[Place], object]] = {
    "as it is": lambda place: None,
    "rsLoRA": weights(lambda _: times(0.1, 0.05)(adapter_tensors(rank=8)), r=8, lora_alpha=256, use_rslora=True),
    "a small scale": weights(times(0.1, 0.01), lora_alpha=0.01),
    "first steps": weights(times(0.1, 1e-4)),
    "noise of size 1": weights(times(1, 1)),
    "one live product": weights(
        lambda tensors: {name: value * (".0.self_attn.k_proj." in name) for name, value in tensors.items()}
    ),
    "in float16": weights(lambda tensors: {name: value.astype(np.float16) for name, value in tensors.items()}),
    "largest scale": weights(times(0.1, 0.1), lora_alpha=1024),
    "features that are off": config(use_dora=False, loftq_config={}, eva_config=None, new_method=None, rank_pattern={}),
    "a harmless init": config(init_lora_weights="eva", eva_config={"rho": 1.0}),
}  # fmt: skip


@pytest.mark.parametrize("adapter", HONEST)
def test_an_honest_one_is_staged_and_served(tmp_path: Path, capsys: Any, adapter: str) -> None:
    place = Place(tmp_path)
    HONEST[adapter](place)
    assert [program(place, capsys) for program in place.programs] == ["", ""]


def test_the_base_is_what_products_are_measured_by(tmp_path: Path, capsys: Any) -> None:
    """The same adapter beside a base of a hundredth of the weights, and beside none, whose usual weights are meant."""
    place = Place(tmp_path)
    write_adapter(place.law, tensors=times(1, 2)(adapter_tensors()))
    assert staged(place, capsys) == ""
    small = {name: np.float32(0.01) * value for name, value in load_file(place.base_weights).items()}
    save_file(small, str(place.base_weights))
    (tmp_path / "staged").rename(tmp_path / "before")
    assert "above 100 times" in staged(place, capsys)
