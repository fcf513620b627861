"""The `datasets:` block of data.lock.yaml: which file of which repository, at which revision, with which bytes."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from faults import BadInput


@dataclass(frozen=True)
class Dataset:
    """One entry. `sha256`, `bytes` and `records` are None until it is pinned."""

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
    datasets = {}
    for name, entry in (content.get("datasets") or {}).items():
        try:
            datasets[name] = Dataset(name=name, **entry)
        except TypeError as error:
            problem = str(error).removeprefix("Dataset.__init__() ").removeprefix("data_lock.")
            raise BadInput(f"{lock}: datasets.{name}: {problem}") from None
    return datasets


def file_sha256(path: Path) -> str:
    """Return the sha256, in hex, of the file's bytes as they lie on disk. Raises `BadInput` if it cannot be read."""
    try:
        with open(path, "rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def download(dataset: Dataset, folder: Path) -> Path:
    """Fetch the dataset's file from Hugging Face into `folder`. A token, if needed, comes from HF_TOKEN.

    Raises `BadInput` if the hub cannot be reached or has no such file.
    """
    quieten_hub()
    from httpx import HTTPError
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        return Path(
            hf_hub_download(
                repo_id=dataset.repo,
                filename=dataset.file,
                repo_type="dataset",
                revision=dataset.revision,
                local_dir=folder,
                token=os.environ.get("HF_TOKEN") or None,
            )
        )
    except (OSError, HTTPError, EntryNotFoundError, HFValidationError) as error:
        raise BadInput(f"{what(dataset)}: cannot be fetched: {first_line(error)}") from None


def quieten_hub() -> None:
    """Keep the hub's client from drawing bars, reporting retries and sending statistics. Before its first use."""
    # Read when the library is imported.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()


def what(dataset: Dataset) -> str:
    """Name a dataset in a message."""
    return f"dataset {dataset.name} ({dataset.repo}, revision {dataset.revision}, {dataset.file})"


def first_line(error: Exception) -> str:
    """Return what an error of the hub's client says first; the rest repeats it or shows a request id."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
