"""adapter_config.json by allow-list: each key that PEFT or vLLM knows is classified, and no odd value passes."""

import ast
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import MODEL, adapter_config, adapter_tensors, write_adapter, write_base
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from adapter_build.core.faults import BadInput
from adapter_build.models.adapter_checks import check_config, check_weights
from adapter_build.models.adapter_settings import CHECKED_APART, GREATEST_SCALE, LEAST_SCALE, SETTINGS
from adapter_build.models.llama_shape import llama_modules

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PEFT_HELPER = next((ROOT / ".venvs/serve/lib").glob("python*/site-packages/vllm/lora/peft_helper.py"))
CONVERT = "convert it with path_initial_model_for_weight_conversion, or train with init_lora_weights true"
MODULES = {"q_proj": ("self_attn", 64, 64), "k_proj": (), "v_proj": (), "o_proj": ()}
# Per key, every value that passes, beside those of a kind that has too many to list.
PASS: dict[str, list[Any]] = {
    **{key: [None, False] for key in ("use_dora", "lora_bias", "fan_in_fan_out", "use_qalora", "ensure_weight_tying")},
    **{key: [None, []] for key in (
        "modules_to_save", "trainable_token_indices", "layer_replication", "layers_to_transform", "layers_pattern",
        "exclude_modules", "target_parameters", "alora_invocation_tokens",
    )},
    **{key: [None, {}] for key in (
        "rank_pattern", "alpha_pattern", "megatron_config", "loftq_config", "corda_config", "lora_ga_config",
    )},
    **{key: [None] for key in ("use_bdlora", "velora_config", "kasa_config", "monteclora_config", "arrow_config")},
    "use_rslora": [None, False, True], "inference_mode": [None, False, True], "task_type": [None, "CAUSAL_LM"],
    "init_lora_weights": [None, False, True, "gaussian", "eva", "orthogonal", "mica"], "bias": ["none"],
    "megatron_core": [None, "megatron.core"], "peft_type": ["LORA"], "base_model_name_or_path": [MODEL],
}  # fmt: skip
OPEN = {
    "revision": lambda value: value is None or type(value) is str,
    "peft_version": lambda value: value is None or type(value) is str,
    "eva_config": lambda value: value is None or type(value) is dict,
    "qalora_group_size": lambda value: value is None or (type(value) is int and value > 0),
    "runtime_config": lambda value: value is None or (type(value) is dict and set(value) <= {"ephemeral_gpu_offload"}),
    "auto_mapping": lambda value: value is None or value == {},
    "lora_dropout": lambda value: type(value) in (int, float) and 0 <= value < 1,
    "r": lambda value: type(value) is int and 0 < value <= 8,
    "lora_alpha": lambda value: type(value) in (int, float) and 4 * LEAST_SCALE <= value <= 4 * GREATEST_SCALE,
    "target_modules": lambda value: type(value) is list and value and sum(map(value.count, MODULES)) == len({*value}),
}  # fmt: skip
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 20), st.floats(-2, 2),
    st.sampled_from([math.nan, math.inf, 10**400, 1e30, 1e-30, 5e-324, -8.0]),
    st.sampled_from(["", "none", "None", "true", "yes", "auto", "all-linear", "lora_only", ".*", "LORA", MODEL]),
    st.sampled_from(["pissa", "PiSSA", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "gaussian", "eva"]),
    st.lists(st.sampled_from(["q_proj", "k_proj", "lm_head", 0, None]), max_size=3),
    st.dictionaries(st.sampled_from(["q_proj", "embed_tokens", "loftq_bits"]), st.integers(0, 8), max_size=2),
)  # fmt: skip


def same(value: Any, other: Any) -> bool:
    """Tell whether two values are one in JSON: neither 0 and false, nor 1 and true."""
    return type(value) is type(other) and value == other


def read(path: Path, config: dict[str, Any] | str, **how: Any) -> dict[str, Any]:
    path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return check_config(path, MODEL, MODULES, 8, "law", **how)


def refused(path: Path, config: dict[str, Any] | str, *parts: str, **how: Any) -> str:
    with pytest.raises(BadInput) as fault:
        read(path, config, **how)
    said = str(fault.value)
    assert "\n" not in said and str(path) in said
    for part in parts:
        assert part in said
    return said


@settings(
    max_examples=400, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(key=st.sampled_from([*SETTINGS, *CHECKED_APART, "use_newlora", "newlora_config"]), value=ODD)
def test_an_odd_value_is_refused_by_its_key(tmp_path: Path, key: str, value: Any) -> None:
    config = adapter_config(**{key: value})
    allowed = PASS.get(key, [None, False, [], {}] if key.startswith(("use_new", "newlora")) else [])
    if OPEN.get(key, lambda value: False)(value) or any(same(value, plain) for plain in allowed):
        assert read(tmp_path / "adapter_config.json", config)[key] == value
    else:
        assert f": {key} " in refused(tmp_path / "adapter_config.json", config)


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "PISSA", "olora", "corda", "loftq", "lora_ga", "magic", 1])
def test_an_init_that_may_alter_the_base_is_refused(tmp_path: Path, init: Any) -> None:
    refused(tmp_path / "c.json", adapter_config(init_lora_weights=init), f"init_lora_weights is {init!r}", CONVERT)


@pytest.mark.parametrize("trace", [
    {"loftq_config": {"loftq_bits": 4, "loftq_iter": 1}}, {"corda_config": {"corda_method": "ipm"}},
    {"lora_ga_config": {"direction": "ArB2r"}},
])  # fmt: skip
def test_the_trace_of_such_an_init_is_refused(tmp_path: Path, trace: dict[str, Any]) -> None:
    refused(tmp_path / "c.json", adapter_config(init_lora_weights=True, **trace), next(iter(trace)), CONVERT, "null")


@pytest.mark.parametrize(("changes", "parts"), [
    ({"kasa_config": {"beta": 1.0}}, ["kasa_config", "train without it"]),
    ({"use_bdlora": {"nblocks": 2}}, ["use_bdlora"]),
    ({"task_type": "SEQ_CLS"}, ["task_type is 'SEQ_CLS'", "CAUSAL_LM"]),
    ({"auto_mapping": {"base_model_class": "LlamaModel"}}, ["auto_mapping", "LlamaForCausalLM"]),
    ({"future_config": {"depth": 2}}, ["future_config is {'depth': 2}", "not known to be served", "null"]),
    ({"future": 0}, ["future is 0"]),
    ({"no\nkey": "x"}, [r"'no\nkey' is 'x'"]),
    ({"target_modules": ["q_proj", "k_proj", "q_proj"]}, ["lists 'q_proj' twice", "adapters.law.target_modules"]),
    ({"target_modules": r".*\.(q|v)_proj"}, ["must list modules by name", "adapters.law.target_modules"]),
    ({"use_rslora": "yes"}, ["use_rslora is 'yes'", "true or false"]),
    ({"lora_dropout": 1}, ["lora_dropout is 1"]),
    ({"r": 8.0}, ["r is 8.0"]),
    ({"lora_alpha": True}, ["lora_alpha is True"]),
])  # fmt: skip
def test_a_setting_is_refused_in_words(tmp_path: Path, changes: dict[str, Any], parts: list[str]) -> None:
    refused(tmp_path / "c.json", adapter_config(**changes), *parts)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = json.dumps(adapter_config(use_rslora=False))
    assert read(tmp_path / "c.json", text)
    refused(tmp_path / "c.json", text.replace('"r": 4', '"r": 4, "r": 8'), "'r' stands in it twice", "export")
    refused(tmp_path / "c.json", text.replace('"rank_pattern": {}', '"rank_pattern": {"a": 1, "a": 2}'), "'a'")


def test_rslora_is_refused_where_the_server_scales_otherwise(tmp_path: Path) -> None:
    config = adapter_config(use_rslora=True, r=4, lora_alpha=8)
    for engine in ("embedded", "nim-2"):
        assert read(tmp_path / "c.json", config, engine=engine)
    said = refused(tmp_path / "c.json", config, "use_rslora", "deploy.nim.version", "deploy.engine", engine="nim-1")
    assert "lora_alpha to 16.0" in said
    assert read(tmp_path / "c.json", adapter_config(use_rslora=False, r=4, lora_alpha=16.0), engine="nim-1")


def test_a_pointer_is_named_as_one(tmp_path: Path) -> None:
    """A clone without git-lfs has three lines in place of each large file."""
    write_base(tmp_path / "base")
    modules, layers = llama_modules(tmp_path / "base/config.json")
    config, weights, _ = write_adapter(tmp_path / "law")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 7\n"
    whole = check_config(config, MODEL, modules, 8, "law")
    check_weights(weights, whole, modules, layers, "law")
    weights.write_text(pointer)
    with pytest.raises(BadInput, match=r"adapter_model.safetensors: is a Git LFS pointer: git lfs pull"):
        check_weights(weights, whole, modules, layers, "law")
    config.write_text(pointer)
    with pytest.raises(BadInput, match=r"adapter_config.json: is a Git LFS pointer: git lfs pull"):
        check_config(config, MODEL, modules, 8, "law")


@pytest.mark.parametrize(("tensor", "said"), [
    ("base_model.model.model.embed_tokens.weight", "save_embedding_layers=False"),
    ("base_model.model.lm_head.weight", "save_embedding_layers=False"),
    ("base_model.model.lm_head.modules_to_save.default.weight", "save_embedding_layers=False"),
    ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight", "names no LoRA weight"),
    ("model.layers.0.self_attn.q_proj.lora_A.weight", "named otherwise than PEFT's save_pretrained"),
    ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "names no LoRA weight"),
])  # fmt: skip
def test_a_tensor_beside_the_matrices_is_refused(tmp_path: Path, tensor: str, said: str) -> None:
    write_base(tmp_path / "base")
    modules, layers = llama_modules(tmp_path / "base/config.json")
    sound = adapter_tensors()
    save_file(sound, str(tmp_path / "w"))
    check_weights(tmp_path / "w", adapter_config(), modules, layers, "law")
    save_file({**sound, tensor: sound[next(iter(sound))]}, str(tmp_path / "w"))
    with pytest.raises(BadInput) as fault:
        check_weights(tmp_path / "w", adapter_config(), modules, layers, "law")
    assert f"tensor {tensor} " in str(fault.value) and said in str(fault.value)


def test_every_key_that_vllm_reads_is_classified() -> None:
    helper = next(
        node for node in ast.parse(PEFT_HELPER.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "PEFTHelper"
    )  # fmt: skip
    read_there = {ast.unparse(node.target) for node in helper.body if isinstance(node, ast.AnnAssign)}
    assert len(read_there) > 12
    assert {key for key in read_there if not key.startswith("vllm_")} <= {*SETTINGS, *CHECKED_APART}


SERVED = ("plain", "untyped", "rslora", "dropout", "gaussian", "orthogonal", "mica", "pissa converted")
UNSERVED = {
    "every linear": "target_modules has 'model.layers.0.",
    "pissa": CONVERT, "olora": CONVERT, "dora": "use_dora", "bias": "bias is 'lora_only'",
    "head": "modules_to_save is ['lm_head']", "embeddings": "save_embedding_layers=False", "ranks": "rank_pattern",
}  # fmt: skip


@pytest.mark.slow
def test_what_peft_itself_writes(tmp_path: Path) -> None:
    """Adapters of the installed PEFT pass, those that no server serves do not, and each of its keys is classified."""
    write_base(tmp_path / "base")
    done = subprocess.run(
        [ROOT / ".venvs/tune/bin/python", HERE / "write_peft_adapters.py", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) - {*SETTINGS, *CHECKED_APART} == set()
    modules, layers = llama_modules(tmp_path / "base/config.json")

    def check(name: str) -> None:
        folder = tmp_path / name
        config = check_config(folder / "adapter_config.json", MODEL, modules, 8, "law")
        assert set(json.loads((folder / "adapter_config.json").read_text())) <= {*SETTINGS, *CHECKED_APART}
        check_weights(folder / "adapter_model.safetensors", config, modules, layers, "law")

    for name in SERVED:
        check(name)
    for name, said in UNSERVED.items():
        with pytest.raises(BadInput) as fault:
            check(name)
        assert said in str(fault.value), name
