"""What a server serves of a build: the base that its sentinel names, that base's files, and the staged adapters."""

from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.models.base_model import HUGGING_FACE_FILES, base_model
from adapter_build.models.weight_files import INDEX, SINGLE, weight_files
from adapter_build.serving.sentinel import read_sentinel


def checked_base(sentinel: Path) -> str:
    """Return the base that the sentinel names: the one its adapters were checked on."""
    if not sentinel.is_file():
        raise BadInput(f"{sentinel}: no checked build there: run `make` first, or name the base with --base")
    return read_sentinel(sentinel, ["base"], mend="run `make`, or name the base with --base")["base"]["name"]


def true_name(base: str, config: dict[str, Any], lock: dict[str, Any]) -> str:
    """Return the name that adapters made for `base` carry. Raises `BadInput` for a base that nothing tells of."""
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
