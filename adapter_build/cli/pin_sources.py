"""Pin the datasets of data.lock.yaml: fetch each that has no sha256 once, show old → new, and write it there.

Only the values change: comments, order and layout of the file stay. Needs the network; a token comes from HF_TOKEN.
"""

import argparse
import dataclasses
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from adapter_build import ROOT
from adapter_build.core.faults import BadInput, run
from adapter_build.core.yaml_edit import replace, show_changes, with_values
from adapter_build.records.data_lock import Dataset, download, file_sha256, read_datasets, what
from adapter_build.records.hub import repository
from adapter_build.records.raw_records import SCHEMA, read_raw_records

PINNED = ("revision", "sha256", "bytes", "records", "licence", "checked")


def main() -> None:
    """Pin the datasets named, by default all that have no sha256."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=Path("data.lock.yaml"), help="the lock to complete")
    parser.add_argument("--dataset", nargs="+", default=[], help="pin these, even if they have a sha256")
    arguments = parser.parse_args()
    datasets = read_datasets(arguments.lock)
    for name in arguments.dataset:
        if name not in datasets:
            raise BadInput(f"{arguments.lock} has no dataset {name} (it has: {', '.join(datasets) or 'none'})")
    chosen = [datasets[name] for name in arguments.dataset] or [d for d in datasets.values() if not d.sha256]
    if not chosen:
        print(f"{arguments.lock}: every dataset is pinned")
    for dataset in chosen:
        print(f"fetching {what(dataset)} …", flush=True)
        new = pinned(dataset)
        values = {key: getattr(new, key) for key in PINNED}
        show_changes(asdict(dataset), values)
        replace(arguments.lock, with_values(arguments.lock.read_text(encoding="utf-8"), ["datasets", new.name], values))


def pinned(dataset: Dataset) -> Dataset:
    """Return the dataset with what the hub has now. Raises `BadInput` if it cannot be fetched or is not raw records."""
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
    info = repository(f"{what(dataset)}:", dataset.repo, dataset.revision, "dataset")
    licence = info.card_data.get("license") if info.card_data else None
    return str(info.sha), ", ".join(licence) if isinstance(licence, list) else licence


if __name__ == "__main__":
    run(main)
