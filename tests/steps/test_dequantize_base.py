"""dequantize_base: a GGUF file's weights and tokenizer come back, with one end token and no trace of the machine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_chain import ROOT, python, refused, run, script, sha256

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow
NAMES = (
    "config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json",
    "tokenizer_config.json",
)  # fmt: skip


def dequantize(base: Path, tmp_path: Path, into: str, *settings: str) -> Any:
    """Write a GGUF file of the tiny base and dequantize it into tmp_path/into."""
    gguf, folder = tmp_path / f"{into}.gguf", tmp_path / into
    made = run([ROOT / ".venvs/tune/bin/python", ROOT / "tests/support/tiny_gguf.py", base, gguf, *settings], tmp_path)
    assert made.returncode == 0, made.stderr
    folder.mkdir()
    return script("tune", "dequantize_base", tmp_path / "s", gguf=gguf, files=[folder / name for name in NAMES])


def test_the_base_comes_back(tiny_base: Path, tmp_path: Path) -> None:
    for into in ("once", "twice"):
        result = dequantize(tiny_base, tmp_path, into)
        assert result.returncode == 0, result.stderr
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert [sha256(once / name) for name in NAMES] == [sha256(twice / name) for name in NAMES]
    source, made = load_file(tiny_base / "model.safetensors"), load_file(once / "model.safetensors")
    assert source.keys() == made.keys()  # so the tied embeddings are there once
    assert all(np.array_equal(source[name], made[name]) for name in source)
    wanted = json.loads((tiny_base / "config.json").read_text())
    config = json.loads((once / "config.json").read_text())
    assert {key: config.get(key) for key in wanted} == wanted
    assert not {"_name_or_path", "_model_name_or_path", "transformers_version"} & set(config)
    ends = {
        key: json.loads((once / "generation_config.json").read_text())[key] for key in ("eos_token_id", "pad_token_id")
    }
    assert ends == {"eos_token_id": 2, "pad_token_id": 2}
    assert json.loads((once / "tokenizer_config.json").read_text())["eos_token"] == "<|im_end|>"
    # No start token, the end token as one, and what is decoded is what was encoded.
    tokens, end = python(HERE / "print_tokens.py", tmp_path, once).strip().split("] ")
    assert tokens.endswith(", 2")
    assert not tokens.startswith("[1,")
    assert end == """2 2 "In 2023 the licensor's work, über alles:<|im_end|>\""""


@pytest.mark.parametrize(("setting", "said"), [
    ("architecture=qwen2", "Llama-shaped"),
    ("pre=qwen2", "cannot be read from GGUF"),
])  # fmt: skip
def test_unknown_kind_is_refused(tiny_base: Path, tmp_path: Path, setting: str, said: str) -> None:
    refused(dequantize(tiny_base, tmp_path, "x", setting), "x.gguf", said)
    assert not list((tmp_path / "x").iterdir())


@pytest.mark.parametrize("content", [b"not a GGUF file", None])
def test_broken_file_is_refused(tiny_base: Path, tmp_path: Path, content: bytes | None) -> None:
    gguf = tmp_path / "x.gguf"
    run([ROOT / ".venvs/tune/bin/python", ROOT / "tests/support/tiny_gguf.py", tiny_base, gguf], tmp_path)
    gguf.write_bytes(gguf.read_bytes()[:-4000] if content is None else content)
    result = script("tune", "dequantize_base", tmp_path / "s", gguf=gguf, files=[tmp_path / name for name in NAMES])
    refused(result, "x.gguf", "not a whole GGUF file")
