"""Pinned datasets, the `datasets:` block of data.lock.yaml: each a repository's file, its revision and its sha256."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.records.hub import fetch

LOCK = Path("data.lock.yaml")


@dataclass(frozen=True)
class Dataset:
    """A dataset's entry. `sha256`, `bytes` and `records` are None until it is pinned."""

    name: str
    repo: str
    revision: str | None
    file: str
    sha256: str | None = None
    bytes: int | None = None
    records: int | None = None
    licence: str | None = None
    checked: bool = False


def read_datasets(lock: Path) -> dict[str, Dataset]:
    """Return the lock's datasets by name. Raises `BadInput` naming file and entry."""
    try:
        content = yaml.safe_load(lock.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise BadInput(f"{lock}: no such file") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{lock}: not YAML ({error})") from None
    return {name: dataset_of(name, entry, lock) for name, entry in (content.get("datasets") or {}).items()}


def dataset_of(name: str, entry: dict[str, Any], lock: Path = LOCK) -> Dataset:
    """Return the dataset that an entry describes. Raises `BadInput` for a key that is unknown or missing."""
    try:
        return Dataset(name=name, **entry)
    except TypeError as error:
        problem = str(error).removeprefix("Dataset.__init__() ").removeprefix("data_lock.")
        raise BadInput(f"{lock}: datasets.{name}: {problem}") from None


def file_sha256(path: Path) -> str:
    """Return the sha256, in hex, of the file's bytes as they lie on disk. Raises `BadInput` if it cannot be read."""
    try:
        return file_digest(path)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def download(dataset: Dataset, folder: Path) -> Path:
    """Fetch the dataset's file from Hugging Face into `folder`. The secret HF_TOKEN is used if it is set.

    Raises `BadInput` if the hub cannot be reached or has no such file.
    """
    return fetch(
        f"{label(dataset)}:",
        repo_id=dataset.repo,
        filename=dataset.file,
        repo_type="dataset",
        revision=dataset.revision,
        local_dir=folder,
    )


def label(dataset: Dataset) -> str:
    """Return the name of a dataset for messages."""
    return f"dataset {dataset.name} ({dataset.repo}, revision {dataset.revision}, {dataset.file})"
