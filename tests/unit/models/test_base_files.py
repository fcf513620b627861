"""A base's files by config.json and index: however they are spread, a whole base passes; each fault is one line."""

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from adapter_samples import write_base
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from adapter_build.core.faults import BadInput
from adapter_build.models.base_checks import check_base
from adapter_build.models.base_model import base_model
from adapter_build.models.llama_shape import heads_of, positions, shape_of
from adapter_build.workflow.configuration import check, overlay

ROOT = Path(__file__).parents[3]
INDEX = "model.safetensors.index.json"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 269060552\n"
QUICK = {"derandomize": True, "deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A sound base of the user's own: model.safetensors and the JSON files."""
    write_base(tmp_path / "base")
    return tmp_path / "base"


def taken(folder: Path) -> list[str]:
    """Return the names that a build takes of the folder, each of which it then checks, as acquire_base does."""
    found = base_model({"name": "tiny", "path": str(folder), "model": ""}, {})
    check_base(map(Path, found.source_files))
    return [Path(path).name for path in found.source_files]


def refused(folder: Path, *parts: str) -> str:
    with pytest.raises(BadInput) as fault:
        taken(folder)
    said = str(fault.value)
    assert "\n" not in said
    for part in parts:
        assert part in said
    return said


def shard(folder: Path, names: list[str], seed: int = 0) -> dict[str, str]:
    """Put the tensors of model.safetensors into files of these names, at random, and write the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    spread = random.Random(seed)
    placed = {
        tensor: names[number] if number < len(names) else spread.choice(names) for number, tensor in enumerate(tensors)
    }
    for name in names:
        save_file({tensor: tensors[tensor] for tensor in tensors if placed[tensor] == name}, str(folder / name))
    write_index(folder, placed)
    return placed


def write_index(folder: Path, placed: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": placed}))


def changed(folder: Path, name: str, **changes: Any) -> None:
    """Replace values of one of the folder's JSON files; a value ... removes the key."""
    content = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def with_tensors(folder: Path, **changes: np.ndarray | None) -> None:
    """Replace tensors of model.safetensors (a.b is written a__b); None removes one."""
    path = folder / "model.safetensors"
    tensors = load_file(path) | {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: value for name, value in tensors.items() if value is not None}, str(path))


def test_one_file_passes_and_what_lies_beside_it_is_left_out(base: Path) -> None:
    whole = taken(base)
    assert "model.safetensors" in whole and "config.json" in whole
    save_file({"tok_embeddings.weight": np.zeros((2, 2), np.float32)}, str(base / "consolidated.safetensors"))
    shutil.copy(base / "model.safetensors", base / "model.fp16.safetensors")
    (base / "original").mkdir()
    assert taken(base) == whole
    found = base_model({"name": "tiny", "path": str(base), "model": ""}, {})
    assert found.left_out == ["consolidated.safetensors", "model.fp16.safetensors"]
    with pytest.raises(BadInput, match=r"consolidated.safetensors: is no file of the base"):
        check_base(base.iterdir())


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "adapter_model.bin"])
def test_an_adapter_in_the_folder_is_refused(base: Path, name: str) -> None:
    shutil.copy(base / "model.safetensors", base / name)
    refused(base, "base.path", name, "merge_and_unload")
    with pytest.raises(BadInput, match=name):
        check_base(base.iterdir())


def _drop(folder: Path, placed: dict[str, str], victim: str) -> str:
    (folder / victim).unlink()
    return f"has no {victim}"


def _slash(folder: Path, placed: dict[str, str], victim: str) -> str:
    write_index(folder, {tensor: name.replace(victim, f"sub/{victim}") for tensor, name in placed.items()})
    return f"'sub/{victim}'"


def _parent(folder: Path, placed: dict[str, str], victim: str) -> str:
    (folder.parent / victim).write_bytes((folder / victim).read_bytes())
    write_index(folder, {tensor: name.replace(victim, f"../{victim}") for tensor, name in placed.items()})
    return f"'../{victim}'"


def _unnamed(folder: Path, placed: dict[str, str], victim: str) -> str:
    tensor = next(tensor for tensor, name in placed.items() if name == victim)
    others = {key: name for key, name in placed.items() if key != tensor}
    write_index(folder, {**others, "model.more.weight": victim})
    return f"has tensor {tensor}, but {INDEX} does not name it"


def _absent(folder: Path, placed: dict[str, str], victim: str) -> str:
    write_index(folder, {**placed, "model.more.weight": victim})
    return "has no tensor model.more.weight"


def _elsewhere(folder: Path, placed: dict[str, str], victim: str) -> str:
    tensor = next(tensor for tensor, name in placed.items() if name == victim)
    other = next(name for name in placed.values() if name != victim)
    write_index(folder, {**placed, tensor: other})
    return tensor


def _cut(folder: Path, placed: dict[str, str], victim: str) -> str:
    whole = (folder / victim).read_bytes()
    (folder / victim).write_bytes(whole[: len(whole) // 2])
    return f"{victim}: not a whole safetensors file"


def _garbage(folder: Path, placed: dict[str, str], victim: str) -> str:
    (folder / victim).write_bytes(b"<!DOCTYPE html><html>Sign in</html>")
    return f"{victim}: not a whole safetensors file"


def _pointer(folder: Path, placed: dict[str, str], victim: str) -> str:
    (folder / victim).write_text(POINTER)
    return f"{victim}: is a Git LFS pointer: git lfs pull"


def _no_index(folder: Path, placed: dict[str, str], victim: str) -> str:
    (folder / INDEX).unlink()
    return f"no {INDEX}"


def _both(folder: Path, placed: dict[str, str], victim: str) -> str:
    shutil.copy(folder / victim, folder / "model.safetensors")
    return f"has model.safetensors, and {INDEX}"


def _no_map(folder: Path, placed: dict[str, str], victim: str) -> str:
    write_index(folder, random.Random(victim).choice([None, {}, [], "model.safetensors", {"model.norm.weight": 1}]))
    return INDEX


def _not_json(folder: Path, placed: dict[str, str], victim: str) -> str:
    (folder / INDEX).write_text((folder / INDEX).read_text()[:-9])
    return f"{INDEX}: not JSON"


def _twice(folder: Path, placed: dict[str, str], victim: str) -> str:
    text = (folder / INDEX).read_text()
    tensor = next(iter(placed))
    (folder / INDEX).write_text(text.replace('"weight_map": {', f'"weight_map": {{"{tensor}": "{victim}", '))
    return f"{tensor!r} stands in it twice"


FAULTS: list[Callable[[Path, dict[str, str], str], str]] = [
    _drop, _slash, _parent, _unnamed, _absent, _elsewhere, _cut, _garbage, _pointer, _no_index, _both, _no_map,
    _not_json, _twice,
]  # fmt: skip
NAMES = st.lists(
    st.from_regex(r"[a-zA-Z][\w-]{0,12}\.safetensors", fullmatch=True), min_size=2, max_size=4, unique=True
)


@settings(max_examples=40, **QUICK)
@given(names=NAMES, seed=st.integers(0, 9), fault=st.sampled_from(FAULTS), stray=st.booleans())
def test_shards_pass_however_they_are_named_and_each_fault_is_named(
    tmp_path: Path, names: list[str], seed: int, fault: Any, stray: bool
) -> None:
    names = [f"w{name}" for name in names]  # none that has a meaning
    folder = tmp_path / "own"
    shutil.rmtree(folder, ignore_errors=True)
    write_base(folder)
    placed = shard(folder, names, seed)
    if stray:
        save_file({"x": np.zeros(1, np.float32)}, str(folder / "consolidated.00.safetensors"))
    assert [name for name in taken(folder) if name.endswith("s")] == sorted(names)
    refused(folder, fault(folder, placed, names[-1]))


def test_an_index_of_the_single_file_passes(base: Path) -> None:
    write_index(base, dict.fromkeys(load_file(base / "model.safetensors"), "model.safetensors"))
    assert INDEX in taken(base)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_pointer_in_place_of_any_file_is_named(base: Path, name: str) -> None:
    (base / name).write_text(POINTER)
    refused(base, f"{name}: is a Git LFS pointer: git lfs pull")
    with pytest.raises(BadInput, match=f"{name}: is a Git LFS pointer"):
        check_base(base.iterdir())


@settings(max_examples=60, **QUICK)
@given(
    key=st.sampled_from([
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_key_value_heads", "head_dim", "vocab_size",
    ]),
    value=st.one_of(st.integers(-1, 400), st.sampled_from([None, True, 2.0, "64", [64], 10**30])),
)  # fmt: skip
def test_sizes_that_the_weights_do_not_have_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    folder = tmp_path / "own"
    if not folder.exists():
        write_base(folder)
    sound = (folder / "config.json").read_text()
    assert taken(folder)
    was = json.loads(sound)
    changed(folder, "config.json", **{key: value})
    default = {"head_dim": was["hidden_size"] // was["num_attention_heads"], "num_key_value_heads": 0}
    try:
        if (default.get(key) if value is None else value) == was[key] and type(value) in (int, type(None)):
            assert taken(folder)
        else:
            refused(folder, "config.json")
    finally:
        (folder / "config.json").write_text(sound)


@pytest.mark.parametrize(("changes", "said"), [
    ({"attention_bias": True}, "self_attn.q_proj.bias"),
    ({"mlp_bias": True}, "mlp.gate_proj.bias"),
    ({"mlp_bias": "no"}, "mlp_bias is 'no'"),
    ({"num_key_value_heads": 3}, "does not divide num_attention_heads"),
    ({"max_position_embeddings": None}, "max_position_embeddings is None"),
    ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config is set (gptq)"),
    ({"quantization_config": {}}, "quantization_config"),
    ({"compression_config": {"format": "pack-quantized"}}, "compression_config"),
    ({"transformers_weights": "other.safetensors"}, "transformers_weights is 'other.safetensors'"),
])  # fmt: skip
def test_a_config_that_is_not_the_weights_is_refused(base: Path, changes: dict[str, Any], said: str) -> None:
    changed(base, "config.json", quantization_config=None, tie_word_embeddings=True, transformers_weights=...)
    assert taken(base)  # a head of its own beside a tied one is read by nobody
    changed(base, "config.json", **changes)
    refused(base, said)


def test_a_key_of_config_that_stands_twice_is_refused(base: Path) -> None:
    text = (base / "config.json").read_text()
    (base / "config.json").write_text(text.replace("{", '{"rope_theta": 500000.0, ', 1))
    refused(base, "config.json: 'rope_theta' stands in it twice")


LAYER = "model__layers__0__self_attn__q_proj__"


@pytest.mark.parametrize(("tensors", "parts"), [
    ({LAYER + "weight": np.zeros((64, 64), np.int8)}, ["q_proj.weight is I8", "quantised", "in full"]),
    ({LAYER + "weight": np.zeros((64, 64), np.float64)}, ["q_proj.weight is F64"]),
    ({LAYER + "qweight": np.zeros((8, 64), np.int32)}, ["q_proj.qweight is I32", "quantised"]),
    ({LAYER + "scales": np.zeros((1, 64), np.float16)}, ["q_proj.scales is F16", "quantised"]),
    ({LAYER + "weight__absmax": np.zeros(64, np.float32)}, ["weight.absmax", "quantised"]),
    ({LAYER + "weight_scale": np.zeros(1, np.float32)}, ["weight_scale", "quantised"]),
    ({LAYER + "bias": np.zeros(64, np.float32)}, ["q_proj.bias does not belong to the model", "attention_bias"]),
    ({LAYER + "weight": None}, ["lack 1 of the", "layers.0.self_attn.q_proj.weight"]),
    ({LAYER + "weight": np.zeros((64, 32), np.float32)}, ["has shape [64, 32]", "asks for [64, 64]"]),
    ({"model__layers__2__input_layernorm__weight": np.ones(64, np.float32)}, ["layers.2", "num_hidden_layers"]),
    ({"lm_head__weight": None}, ["lack 1 of the", "lm_head.weight"]),
])  # fmt: skip
def test_tensors_that_config_does_not_describe_are_refused(
    base: Path, tensors: dict[str, Any], parts: list[str]
) -> None:
    with_tensors(base, **{LAYER[:-8] + "rotary_emb__inv_freq": np.ones(16, np.float32)})  # of old checkpoints
    with_tensors(base, model__norm__weight=np.ones(64, np.float16))
    assert taken(base)
    with_tensors(base, **tensors)
    refused(base, *parts)


def test_weights_in_fp8_are_refused(base: Path) -> None:
    """A type that numpy has not; the file is sound."""
    path = base / "model.safetensors"
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1].get("data_offsets", [0])):
        if name != "__metadata__":
            size = int(np.prod(entry["shape"]))
            header[name] = {"dtype": "F8_E4M3", "shape": entry["shape"], "data_offsets": [end, end + size]}
            end += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    refused(base, "is F8_E4M3", "quantised", "in full")


def test_a_tokenizer_of_more_tokens_than_rows_is_refused(base: Path) -> None:
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    rows = json.loads((base / "config.json").read_text())["vocab_size"]
    unused = {**tokenizer["added_tokens"][0], "id": rows, "content": "<|unused|>"}
    changed(base, "tokenizer.json", added_tokens=[*tokenizer["added_tokens"], unused])
    assert taken(base)  # special, and no role needs it
    changed(base, "special_tokens_map.json", pad_token="<|unused|>")
    refused(base, f"token '<|unused|>' has the number {rows}", f"is {rows}")


@pytest.mark.parametrize(("given", "heads"), [
    ({}, (8, 8, 16)), ({"num_key_value_heads": 2}, (8, 2, 16)), ({"head_dim": 64}, (8, 8, 64)),
    ({"num_key_value_heads": None, "head_dim": None}, (8, 8, 16)), ({"hidden_size": 4}, (8, 8, 1)),
])  # fmt: skip
def test_heads_that_config_leaves_out_follow_from_the_others(given: dict[str, Any], heads: tuple[int, ...]) -> None:
    sizes = {"intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 9}
    config = {"hidden_size": 128, "num_attention_heads": 8, **sizes, **given}
    shape = shape_of(config, Path("config.json"))
    assert heads_of(config) == (shape.heads, shape.kv_heads, shape.head) == heads
    with pytest.raises(BadInput, match="num_key_value_heads is 3, which does not divide num_attention_heads, 8"):
        shape_of({**config, "num_key_value_heads": 3}, Path("config.json"))
    with pytest.raises(KeyError, match="num_attention_heads"):
        heads_of({"hidden_size": 128})


@pytest.mark.parametrize(("rope", "length"), [
    ({}, 512), ({"rope_scaling": None}, 512), ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 512),
    ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 2048),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, 512),
    ({"rope_parameters": {"rope_type": "dynamic", "factor": 2}}, 1024),
])  # fmt: skip
def test_positions_are_those_that_the_server_finds(rope: dict[str, Any], length: int) -> None:
    assert positions({"max_position_embeddings": 512, **rope}, "config.json") == length


@pytest.mark.parametrize(("section", "parts"), [
    ({"adapters": {"law-titlegen": {"sequence_length": 513}}}, ["adapters.law-titlegen.sequence_length is 513"]),
    ({"evaluate": {"max_new_tokens": 512}}, ["evaluate.max_new_tokens is 512"]),
])  # fmt: skip
def test_lengths_beyond_ones_own_base_are_refused_before_any_step(
    base: Path, section: dict[str, Any], parts: list[str]
) -> None:
    own = {"base": {"name": "tiny", "path": str(base), "model": "example/tiny"}}
    within = {"adapters": {"law-titlegen": {"sequence_length": 512}}, "evaluate": {"max_new_tokens": 511}}
    for changes in (within, section):
        config = yaml.safe_load((ROOT / "config.yaml").read_text())
        overlay(config, {**own, **changes})
        if changes is within:
            check(config)
        else:
            with pytest.raises(BadInput) as fault:
                check(config)
            for part in (*parts, "512 positions", str(base / "config.json")):
                assert part in str(fault.value)


def test_a_pack_may_be_longer_than_the_positions(base: Path) -> None:
    """Each record in it begins at position 0."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    adapter = {"sequence_length": 512, "pack_length": 2048, "micro_batch_size": 1}
    overlay(config, {"base": {"name": "tiny", "path": str(base)}, "adapters": {"law-titlegen": adapter}})
    check(config)
