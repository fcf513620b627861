"""stage_adapter: a sound adapter is copied byte for byte; each fault that a server would not see is refused by name."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapter_samples import LAYERS, MODEL, adapter_config, adapter_tensors, tensor_name, write_adapter, write_base
from safetensors.numpy import save_file

WEIGHTS = "adapter_model.safetensors"
FILES = ("adapter_config.json", WEIGHTS, "README.md")
FIRST_B = tensor_name(0, "k_proj", "B")


@pytest.fixture
def stage(tmp_path: Path, run_script: Callable[..., Any]) -> Callable[..., Any]:
    """Stage the adapter in `folder`; returns the finished process."""
    write_base(tmp_path / "base")
    (tmp_path / "staged").mkdir()

    def run(folder: Path, **changes: Any) -> Any:
        options = {
            "adapter": "law", "adapter_files": [folder / name for name in FILES], "base": "tiny",
            "base_config": tmp_path / "base" / "config.json", "base_model": MODEL, "max_rank": 8,
            "staged": [tmp_path / "staged" / name for name in FILES], **changes,
        }  # fmt: skip
        return run_script("workflow", "stage_adapter", **options)

    return run


def refused(process: Any, tmp_path: Path, *parts: str) -> None:
    """Assert one error line that holds `parts`, exit code 2 and nothing staged."""
    assert process.returncode == 2, process.stderr
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1, process.stderr
    for part in parts:
        assert part in process.stderr
    assert list((tmp_path / "staged").iterdir()) == []


def rewritten(folder: Path, change: Callable[[bytes], bytes]) -> Path:
    """Apply `change` to the bytes of a sound adapter's weights."""
    write_adapter(folder)
    (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))
    return folder


def with_header(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Apply `change` to the header of a sound adapter's weights; the numbers stay."""

    def rewrite(whole: bytes) -> bytes:
        length = int.from_bytes(whole[:8], "little")
        header = json.loads(whole[8 : 8 + length])
        change(header)
        new = json.dumps(header).encode()
        return len(new).to_bytes(8, "little") + new + whole[8 + length :]

    return rewritten(folder, rewrite)


def test_a_sound_adapter_is_copied_byte_for_byte(tmp_path: Path, stage: Callable[..., Any]) -> None:
    sources = write_adapter(tmp_path / "law")
    process = stage(tmp_path / "law")
    assert (process.returncode, process.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "staged").iterdir()) == sorted(FILES)
    for source in sources:
        copy = tmp_path / "staged" / source.name
        assert copy.read_bytes() == source.read_bytes()
        assert copy.stat().st_ino != source.stat().st_ino


@pytest.mark.parametrize("dtype", [np.float16, "bfloat16"])
def test_half_precision_is_read(tmp_path: Path, stage: Callable[..., Any], dtype: Any) -> None:
    """Sound half-precision weights pass, and a NaN in them is seen."""
    for spoiled in (False, True):
        tensors = adapter_tensors()
        if spoiled:
            tensors[FIRST_B][0, 0] = np.nan
        folder = tmp_path / f"{spoiled}"
        if dtype == "bfloat16":
            halves = {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in tensors.items()}
            write_adapter(folder, tensors=halves)
            whole = (folder / WEIGHTS).read_bytes()
            (folder / WEIGHTS).write_bytes(whole.replace(b'"U16"', b'"BF16"'))
            length = int.from_bytes(whole[:8], "little") + len(tensors)
            (folder / WEIGHTS).write_bytes(length.to_bytes(8, "little") + (folder / WEIGHTS).read_bytes()[8:])
        else:
            write_adapter(folder, tensors={name: value.astype(dtype) for name, value in tensors.items()})
        process = stage(folder, staged=[tmp_path / "staged" / name for name in FILES])
        if spoiled:
            assert process.returncode == 2 and FIRST_B in process.stderr and "NaN" in process.stderr
        else:
            assert process.returncode == 0, process.stderr


CONFIG_FAULTS = {
    "foreign base": ({"base_model_name_or_path": "example/other"}, ["base_model_name_or_path", MODEL, "base.name"]),
    "no base": ({"base_model_name_or_path": None}, ["base_model_name_or_path", "None"]),
    "not LoRA": ({"peft_type": "IA3"}, ["peft_type", "'IA3'", "LORA"]),
    "rank above the server's": ({"r": 16}, ["r is 16", "adapters.law.rank", "deploy.max_rank"]),
    "no rank": ({"r": 0}, ["r is 0", "adapters.law.rank"]),
    "rank true": ({"r": True}, ["r is True"]),
    "alpha without end": ({"lora_alpha": float("inf")}, ["lora_alpha is inf"]),
    "alpha that no float holds": ({"lora_alpha": 10**400}, ["lora_alpha is 1000"]),
    "no alpha": ({"lora_alpha": 0}, ["lora_alpha", "adapters.law.alpha"]),
    "DoRA": ({"use_dora": True}, ["use_dora"]),
    "modules to save": ({"modules_to_save": ["lm_head"]}, ["modules_to_save", "lm_head"]),
    "rank pattern": ({"rank_pattern": {"q_proj": 2}}, ["rank_pattern"]),
    "alpha pattern": ({"alpha_pattern": {"q_proj": 2}}, ["alpha_pattern"]),
    "some layers": ({"layers_to_transform": [0]}, ["layers_to_transform"]),
    "biases": ({"bias": "lora_only"}, ["bias", "'lora_only'"]),
    "unknown target": ({"target_modules": ["q_proj", "lm_head"]}, ["'lm_head'", "adapters.law.target_modules"]),
    "target by pattern": ({"target_modules": "all-linear"}, ["target_modules must list"]),
    "no target": ({"target_modules": []}, ["target_modules must list"]),
}


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_config_fails(tmp_path: Path, stage: Callable[..., Any], fault: str) -> None:
    changes, parts = CONFIG_FAULTS[fault]
    write_adapter(tmp_path / "law", adapter_config(**changes))
    refused(stage(tmp_path / "law"), tmp_path, str(tmp_path / "law" / "adapter_config.json"), *parts)


@pytest.mark.parametrize("content", ["", "{", "[]", "\udcff", "[" * 100_000])
def test_config_that_is_no_json_object_fails(tmp_path: Path, stage: Callable[..., Any], content: str) -> None:
    write_adapter(tmp_path / "law")
    (tmp_path / "law" / FILES[0]).write_bytes(content.encode(errors="surrogateescape"))
    refused(stage(tmp_path / "law"), tmp_path, str(tmp_path / "law" / FILES[0]))


def spoiled(**changes: Any) -> dict[str, np.ndarray]:
    """Return sound tensors in which FIRST_B has the value `number` in one place."""
    tensors = adapter_tensors()
    tensors[FIRST_B][3, 1] = changes["number"]
    return tensors


WEIGHT_FAULTS = {
    "NaN": (lambda: spoiled(number=np.nan), [FIRST_B, "NaN or Inf", "adapters.law.learning_rate"]),
    "infinity": (lambda: spoiled(number=-np.inf), [FIRST_B, "NaN or Inf"]),
    "absurd size": (lambda: spoiled(number=-1e6), [FIRST_B, "1e+06"]),
    "B all zero": (lambda: adapter_tensors(scale=0.0), ["zero", "adapters.law.max_steps"]),
    "A zero where B is not": (
        lambda: {name: value * (".lora_B." in name) for name, value in adapter_tensors().items()},
        ["zero"],
    ),
    "a pair missing": (
        lambda: {name: value for name, value in adapter_tensors().items() if ".1.self_attn.q_proj." not in name},
        ["2 of 16 tensors are missing", tensor_name(1, "q_proj", "A")],
    ),
    "half a pair missing": (
        lambda: {name: value for name, value in adapter_tensors().items() if name != FIRST_B},
        ["1 of 16 tensors are missing", FIRST_B],
    ),
    "a layer too many": (
        lambda: {**adapter_tensors(), tensor_name(LAYERS, "q_proj", "A"): np.ones((4, 64), np.float32)},
        [tensor_name(LAYERS, "q_proj", "A"), "base.name"],
    ),
    "a module that is no target": (
        lambda: {**adapter_tensors(), "base_model.model.lm_head.weight": np.ones((4, 64), np.float32)},
        ["base_model.model.lm_head.weight"],
    ),
    "another base's shape": (
        lambda: {**adapter_tensors(), FIRST_B: np.ones((48, 4), np.float32)},
        [FIRST_B, "[48, 4]", "[32, 4]"],
    ),
    "another rank than the config's": (lambda: adapter_tensors(rank=2), ["shape", "adapters.law.rank"]),
    "whole numbers": (lambda: {n: v.astype(np.int32) for n, v in adapter_tensors().items()}, ["dtype I32"]),
}


@pytest.mark.parametrize("fault", WEIGHT_FAULTS)
def test_weights_fail(tmp_path: Path, stage: Callable[..., Any], fault: str) -> None:
    make, parts = WEIGHT_FAULTS[fault]
    write_adapter(tmp_path / "law", tensors=make())
    refused(stage(tmp_path / "law"), tmp_path, str(tmp_path / "law" / WEIGHTS), *parts)


def deep(levels: int) -> bytes:
    """Return a file whose header is lists in lists."""
    return levels.to_bytes(8, "little") + b"[" * levels


def overlapping(header: dict[str, Any]) -> None:
    """Let two tensors lie in the same place."""
    header[FIRST_B]["data_offsets"] = header[tensor_name(1, "k_proj", "B")]["data_offsets"]


def test_flipped_bit_fails(tmp_path: Path, stage: Callable[..., Any]) -> None:
    """The highest bit of an exponent, in the last weight of the file."""
    for sound, part in ((1.5, "NaN or Inf"), (0.75, "a weight of size")):
        tensors = {name: np.full_like(value, sound) for name, value in adapter_tensors().items()}
        write_adapter(tmp_path / "law", tensors=tensors)
        weights = tmp_path / "law" / WEIGHTS
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 0x40]))
        refused(stage(tmp_path / "law"), tmp_path, str(weights), "lora_B", part)


FILE_FAULTS = {
    "empty": lambda folder: rewritten(folder, lambda whole: b""),
    "cut in its header": lambda folder: rewritten(folder, lambda whole: whole[:300]),
    "cut in its numbers": lambda folder: rewritten(folder, lambda whole: whole[:-4]),
    "longer than its header says": lambda folder: rewritten(folder, lambda whole: whole + b"\0"),
    "a pickle under another name": lambda folder: rewritten(folder, lambda whole: pickle.dumps({"a": 1})),
    "no tensor's place": lambda folder: with_header(folder, lambda header: header[FIRST_B].pop("data_offsets")),
    "a header that is a list": lambda folder: with_header(folder, lambda header: header.update({FIRST_B: [1]})),
    "a header without end": lambda folder: rewritten(folder, lambda whole: deep(100_000)),
    "tensors that overlap": lambda folder: with_header(folder, overlapping),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_file_fails(tmp_path: Path, stage: Callable[..., Any], fault: str) -> None:
    folder = FILE_FAULTS[fault](tmp_path / "law")
    refused(stage(folder), tmp_path, str(folder / WEIGHTS), "not a whole safetensors file", "export the adapter again")


def test_pickled_weights_fail(tmp_path: Path, stage: Callable[..., Any]) -> None:
    write_adapter(tmp_path / "law")
    pickled = (tmp_path / "law" / WEIGHTS).rename(tmp_path / "law" / "adapter_model.bin")
    files = [pickled if name == WEIGHTS else tmp_path / "law" / name for name in FILES]
    refused(stage(tmp_path / "law", adapter_files=files), tmp_path, str(pickled), "pickle")


def test_a_pickle_beside_the_weights_fails(tmp_path: Path, stage: Callable[..., Any]) -> None:
    files = write_adapter(tmp_path / "law")
    pickled = tmp_path / "law" / "adapter_model.bin"
    pickled.write_bytes(pickle.dumps({"a": 1}))
    refused(stage(tmp_path / "law", adapter_files=[*files, pickled]), tmp_path, str(pickled), "pickle")


def test_a_link_to_nothing_or_into_a_circle_fails(tmp_path: Path, stage: Callable[..., Any]) -> None:
    write_adapter(tmp_path / "law")
    weights = tmp_path / "law" / WEIGHTS
    for target in (tmp_path / "none", weights):
        weights.unlink()
        weights.symlink_to(target)
        refused(stage(tmp_path / "law"), tmp_path, str(weights))


def test_what_is_staged_is_no_link(tmp_path: Path, stage: Callable[..., Any]) -> None:
    """A link, here out of the adapter's folder, is staged as the checked bytes that it leads to."""
    write_adapter(tmp_path / "law")
    weights = tmp_path / "law" / WEIGHTS
    whole = weights.read_bytes()
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    assert stage(tmp_path / "law").returncode == 0
    staged = tmp_path / "staged" / WEIGHTS
    assert not staged.is_symlink() and staged.read_bytes() == whole


def test_missing_file_fails(tmp_path: Path, stage: Callable[..., Any]) -> None:
    files = write_adapter(tmp_path / "law")
    refused(stage(tmp_path / "law", adapter_files=files[:2]), tmp_path, "README.md")
    files[1].unlink()
    refused(stage(tmp_path / "law"), tmp_path, str(files[1]), "No such file")


def test_name_fails(tmp_path: Path, stage: Callable[..., Any]) -> None:
    write_adapter(tmp_path / "law")
    refused(stage(tmp_path / "law", adapter="tiny"), tmp_path, "adapters.tiny", "base's own name")
    for name in ("..", "a/b", "ü", "a b", ".hidden", "x" * 65):
        refused(stage(tmp_path / "law", adapter=name), tmp_path, f"adapters.{name}", "letters")


def test_other_base_fails(tmp_path: Path, stage: Callable[..., Any]) -> None:
    """The served base decides: the same adapter for another one is refused."""
    write_adapter(tmp_path / "law")
    refused(stage(tmp_path / "law", base_model="example/other"), tmp_path, "'example/other'", f"'{MODEL}'")


def test_rslora_fails_for_nim_1_alone(tmp_path: Path, stage: Callable[..., Any]) -> None:
    write_adapter(tmp_path / "law", adapter_config(use_rslora=True))
    refused(stage(tmp_path / "law", engine="nim-1"), tmp_path, "use_rslora", "deploy.nim.version", "deploy.engine")
    assert stage(tmp_path / "law", engine="nim-2").returncode == 0
    assert stage(tmp_path / "law").returncode == 0


def test_base_that_is_no_llama_fails(tmp_path: Path, stage: Callable[..., Any]) -> None:
    write_adapter(tmp_path / "law")
    (tmp_path / "base" / "config.json").write_text('{"model_type": "gpt2", "n_embd": 64}')
    refused(stage(tmp_path / "law"), tmp_path, str(tmp_path / "base" / "config.json"), "Llama", "base.name")


def test_weights_of_every_linear_layer_pass(tmp_path: Path, stage: Callable[..., Any]) -> None:
    """NIM's seven modules: those of the MLP lie under `mlp`."""
    shapes = {"gate_proj": (64, 96), "up_proj": (64, 96), "down_proj": (96, 64)}
    tensors = adapter_tensors()
    for layer in range(LAYERS):
        for module, (inputs, outputs) in shapes.items():
            prefix = f"base_model.model.model.layers.{layer}.mlp.{module}"
            tensors[f"{prefix}.lora_A.weight"] = np.ones((4, inputs), np.float32)
            tensors[f"{prefix}.lora_B.weight"] = np.ones((outputs, 4), np.float32)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", *shapes]
    write_adapter(tmp_path / "law", adapter_config(target_modules=targets), tensors)
    assert stage(tmp_path / "law").returncode == 0
    save_file({n.replace(".mlp.", ".self_attn."): v for n, v in tensors.items()}, str(tmp_path / "law" / WEIGHTS))
    for copy in (tmp_path / "staged").iterdir():
        copy.unlink()
    refused(stage(tmp_path / "law"), tmp_path, "self_attn.down_proj")
