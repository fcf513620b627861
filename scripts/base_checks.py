"""What every base model must be: Llama-shaped, with one end token that tokenizer and generation agree on."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from faults import BadInput

ARCHITECTURE = "LlamaForCausalLM"


def named(files: Iterable[Path]) -> dict[str, Path]:
    """Return the files by base name."""
    return {path.name: path for path in files}


def check_base(files: Iterable[Path]) -> None:
    """Check a base's Hugging Face files. Raises `BadInput` naming the file and what is wrong with it."""
    by_name = named(files)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if name not in by_name:
            raise BadInput(f"the base has no {name}: check base.name, base.path and its entry in data.lock.yaml")
    if not any(name.endswith(".safetensors") for name in by_name):
        raise BadInput("the base has no *.safetensors: check base.name, base.path and its entry in data.lock.yaml")
    config = _read(by_name["config.json"])
    check_llama(config, by_name["config.json"])
    check_end_token(by_name, config)


def check_llama(config: dict[str, Any], where: Path) -> None:
    """Refuse a config.json that is not of a Llama-shaped model."""
    if config.get("model_type") != "llama" or config.get("architectures") != [ARCHITECTURE]:
        raise BadInput(
            f"{where}: a {config.get('model_type')!r} model with architectures {config.get('architectures')}, but only "
            f"Llama-shaped bases ('llama', ['{ARCHITECTURE}']) can be tuned and served: set base.name to another base"
        )


def check_end_token(by_name: dict[str, Path], config: dict[str, Any]) -> None:
    """Refuse a base whose tokenizer ends a text with a token on which generation does not stop."""
    settings = _read(by_name["tokenizer_config.json"])
    end = settings.get("eos_token")
    text = end.get("content") if isinstance(end, dict) else end
    added = _read(by_name["tokenizer.json"]).get("added_tokens") or []
    number = next((token["id"] for token in added if token["content"] == text), None)
    if number is None:
        raise BadInput(f"{by_name['tokenizer_config.json']}: eos_token {text!r} is no special token of tokenizer.json")
    where = by_name.get("generation_config.json", by_name["config.json"])
    stops = (_read(where) if where != by_name["config.json"] else config).get("eos_token_id")
    if number not in (stops if isinstance(stops, list) else [stops]):
        raise BadInput(
            f"{where}: eos_token_id is {stops}, but the tokenizer's end token {text!r} is {number}: generation would "
            "run on past the answer; correct the one that is wrong"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected a JSON object")
    return content
