"""The part of a build that a server serves: base, its files, staged adapters; and a request to try them with."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl
from adapter_build.models.base_model import HUGGING_FACE_FILES, base_model
from adapter_build.models.weight_files import INDEX, SINGLE, weight_files
from adapter_build.serving.api_key import KEY, api_key
from adapter_build.serving.deployment_prompts import PREDICTIONS
from adapter_build.serving.inference_client import MAX_TOKENS
from adapter_build.serving.sentinel import read_sentinel


def checked_base(sentinel: Path) -> str:
    """Return the base that the sentinel names: the one its adapters were checked on."""
    if not sentinel.is_file():
        raise BadInput(f"{sentinel}: no checked build there: run `make` first, or name the base with --base")
    return read_sentinel(sentinel, ["base"], mend="run `make`, or name the base with --base")["base"]["name"]


def true_name(base: str, config: dict[str, Any], lock: dict[str, Any]) -> str:
    """Return the base's true name, by config or data.lock.yaml: adapters made for the base carry it.

    Raises `BadInput` for a base that is in neither.
    """
    own = config["base"] if config["base"]["name"] == base else {"name": base, "path": "", "model": ""}
    if not own["path"] and base not in lock["bases"]:
        raise BadInput(f"base {base}: neither config's base.name nor in data.lock.yaml: name the config of its build")
    return base_model(own, lock).model


def base_files(folder: Path) -> list[Path]:
    """Return the base's Hugging Face files, sharded weights included. Raises `BadInput` if it was not built."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if "config.json" not in names:
        raise BadInput(f"{folder}: no base model there: run `make` first, or name another with --base")
    weights = weight_files(names, folder / INDEX, str(folder)).names
    return [folder / name for name in sorted({*weights, *names.intersection(HUGGING_FACE_FILES) - {SINGLE}})]


def staged_adapters(folder: Path) -> dict[str, Path]:
    """Return name → folder of every staged adapter. Raises `BadInput` if there is none."""
    adapters = {path.parent.name: path.parent for path in sorted(folder.glob("*/adapter_config.json"))}
    if not adapters:
        raise BadInput(f"{folder}: no staged adapter there: run `make` first")
    return adapters


def sample_prompt(evaluation: Path, adapters: Sequence[str]) -> tuple[str, str]:
    """Return the first adapter that was evaluated, and its shortest prompt, in the form that it was trained on."""
    for adapter in adapters:
        predictions = evaluation / f"{adapter}{PREDICTIONS}"
        if predictions.is_file():
            return adapter, min((row["input"] for row in read_jsonl(predictions)), key=lambda text: (len(text), text))
    raise BadInput(f"{evaluation}: no predictions of {', '.join(adapters)}: run `make` first")


def curl_command(url: str, model: str, text: str) -> str:
    """Return a command line that asks `model` to complete `text`."""
    body = {"model": model, "prompt": text, "max_tokens": MAX_TOKENS, "temperature": 0}
    key = f' -H @<(echo "authorization: Bearer ${KEY}")' if api_key() else ""  # on no command line that ps shows
    kind = " -H 'content-type: application/json'"
    return f"curl -s {url}/v1/completions{kind}{key} -d {shlex.quote(json.dumps(body))}"
