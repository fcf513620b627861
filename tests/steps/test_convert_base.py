"""convert_base: the .nemo file is NeMo's own, gives the source's logits exactly, and has the same bytes every time."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from adapter_samples import LLAMA3
from test_acquire_base import copied
from tiny_chain import chain, python, refused, script, sha256

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow  # each imports PyTorch, most NeMo


def test_restored_logits_equal_the_sources(tiny_base: Path, tmp_path: Path) -> None:
    said = python(HERE / "compare_logits.py", tmp_path, chain(tiny_base).nemo, tiny_base)
    assert said.split()[-3:] == ["True", "True", "ModelPT"]


def test_other_weights_give_other_logits(tiny_base: Path, tmp_path: Path) -> None:
    files = copied(tiny_base, tmp_path / "other", "config.json")
    weights = next(path for path in files if path.suffix == ".safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0x80  # the sign of the last weight
    weights.write_bytes(content)
    said = python(HERE / "compare_logits.py", tmp_path, chain(tiny_base).nemo, tmp_path / "other")
    assert said.split()[-3] == "False"


def test_bytes_depend_on_the_files_alone(tiny_base: Path, tmp_path: Path) -> None:
    files = copied(tiny_base, tmp_path / "elsewhere", "config.json")
    (tmp_path / "elsewhere/config.json").write_bytes((tiny_base / "config.json").read_bytes())
    result = script("tune", "convert_base", tmp_path / "s", files=files[::-1], nemo=tmp_path / "again.nemo")
    assert result.returncode == 0, result.stderr
    assert sha256(tmp_path / "again.nemo") == sha256(chain(tiny_base).nemo)
    with tarfile.open(tmp_path / "again.nemo") as archive:
        entries = archive.getmembers()
        config = yaml.safe_load(archive.extractfile("model_config.yaml").read())
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {(entry.mtime, entry.uid, entry.gid, entry.mode, entry.uname) for entry in entries} == {(0, 0, 0, 0o644, "")}
    assert (config["format"], config["target"]) == ("hf", "hf_causal_lm.HFCausalLM")  # wherever its module lies
    assert str(tmp_path) not in json.dumps(config)


@pytest.mark.parametrize(("name", "changes", "said"), [
    ("config.json", {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}, "Llama-shaped"),
    ("config.json", {"architectures": ["LlamaForSequenceClassification"]}, "Llama-shaped"),
    ("generation_config.json", {"eos_token_id": [0, 1]}, "run on past the answer"),
])  # fmt: skip
def test_unfit_base_is_refused(tiny_base: Path, tmp_path: Path, name: str, changes: dict[str, Any], said: str) -> None:
    files = copied(tiny_base, tmp_path / "own", name, **changes)
    refused(script("tune", "convert_base", tmp_path / "s", files=files, nemo=tmp_path / "x.nemo"), name, said)
    assert not list(tmp_path.glob("*.nemo*"))


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_file_is_refused(tiny_base: Path, tmp_path: Path, missing: str) -> None:
    files = [path for path in tiny_base.iterdir() if path.name != missing]
    result = script("tune", "convert_base", tmp_path / "s", files=files, nemo=tmp_path / "x.nemo")
    refused(result, "the base has no", missing.removeprefix("model"))


def test_what_another_base_left_beside_the_files_is_not_read(tiny_base: Path, tmp_path: Path) -> None:
    """The index and one shard are the base's; model.safetensors, which transformers would take first, is not."""
    files = copied(tiny_base, tmp_path / "own", "config.json")
    (tmp_path / "own/config.json").write_bytes((tiny_base / "config.json").read_bytes())
    weights = next(path for path in files if path.suffix == ".safetensors")
    content = weights.read_bytes()
    shard = weights.with_name("model-00001-of-00001.safetensors")
    shard.write_bytes(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    placed = {tensor: shard.name for tensor in header if tensor != "__metadata__"}
    weights.with_name("model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 0x80]))
    files = [path for path in sorted((tmp_path / "own").iterdir()) if path != weights]
    result = script("tune", "convert_base", tmp_path / "s", files=files, nemo=tmp_path / "own.nemo")
    assert result.returncode == 0, result.stderr
    assert python(HERE / "compare_logits.py", tmp_path, tmp_path / "own.nemo", tiny_base).split()[-3] == "True"


def test_a_base_that_transformers_5_saved_is_converted_as_it_is_meant(tiny_base: Path, tmp_path: Path) -> None:
    changes = {"rope_parameters": LLAMA3, "dtype": "float32", "transformers_version": "5.2.0"}
    files = copied(tiny_base, tmp_path / "own", "config.json", **changes)
    path = tmp_path / "own/config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: content[key] for key in content if key not in ("rope_theta", "torch_dtype")}))
    settings_path = tmp_path / "own/tokenizer_config.json"
    settings_ = json.loads(settings_path.read_text())
    settings_ |= {
        "tokenizer_class": "TokenizersBackend",
        "backend": "tokenizers",
        "extra_special_tokens": ["<|im_end|>"],
    }
    settings_path.write_text(json.dumps(settings_))
    result = script("tune", "convert_base", tmp_path / "s", files=files, nemo=tmp_path / "x.nemo")
    assert result.returncode == 0, result.stderr
    said = python(HERE / "print_restored_base.py", tmp_path, tmp_path / "x.nemo")
    assert said.splitlines()[-1] == "500000.0 llama3 torch.float32 768"


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("config.json", {"rope_parameters": {"rope_type": "longrope"}}, "rope_parameters"),
        ("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizerFast"}, "tokenizer_class"),
        ("tokenizer_config.json", {"tokenizer_class": "TokenizersBackend2"}, "tokenizer_class"),
    ],
)  # fmt: skip
def test_direct_calls_refuse_it_too(tiny_base: Path, tmp_path: Path, name: str, changes: dict, said: str) -> None:
    files = copied(tiny_base, tmp_path / "own", name, **changes)
    refused(script("tune", "convert_base", tmp_path / "s", files=files, nemo=tmp_path / "x.nemo"), name, said)
    out = [tmp_path / "out" / path.name for path in files]
    (tmp_path / "out").mkdir()
    refused(script("workflow", "acquire_base", tmp_path / "s", base="x", source_files=files, files=out), name, said)
    assert not list(tmp_path.glob("*.nemo*")) and not list((tmp_path / "out").iterdir())
