"""Acquire the raw dataset: one checked record per line, in the source's order and in one spelling.

    --kind file          a JSON array or JSON Lines, also packed (xz, gzip, bzip2); --sha256 is of the packed file
    --kind huggingface   an entry of data.lock.yaml, fetched at its pinned revision and checked against its sha256

Blanks, key order and escapes of the source change nothing in the output. Bad records stop the step, which lists them;
with --bad-records drop, each is replaced by its id and its fault, for the ledger.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import write_jsonl
from adapter_build.core.progress import Progress
from adapter_build.records.bad_records import Faults
from adapter_build.records.data_lock import LOCK, Dataset, dataset_of, download, file_sha256, label
from adapter_build.records.raw_records import SCHEMA, dropping_raw_records, read_raw_records


def main() -> None:
    """Write the records of the source that the command line names."""
    arguments = _parse()
    if arguments.kind == "file":
        if arguments.sha256:
            _check_sha256(arguments.source, arguments.sha256, "config key data.sha256")
        _write(arguments.records, _read(arguments.source, arguments))
        return
    dataset = _pinned(arguments.dataset, arguments.entry)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = download(dataset, Path(folder))
        _check_sha256(path, dataset.sha256 or "", f"{LOCK} key datasets.{dataset.name}.sha256")
        records = _counted(_read(path, arguments), dataset)
        _write(arguments.records, records, dataset.records)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", required=True, choices=["file", "huggingface"], help="where the records come from")
    parser.add_argument("--source", type=Path, help="kind file: the file")
    parser.add_argument("--sha256", default="", help="kind file: its sha256; empty: not checked")
    parser.add_argument("--dataset", help="kind huggingface: a name under datasets: in data.lock.yaml")
    parser.add_argument("--entry", type=json.loads, help="kind huggingface: its entry in data.lock.yaml, as JSON")
    parser.add_argument("--schema", type=Path, default=SCHEMA, help="JSON Schema of one raw record")
    parser.add_argument("--bad-records", choices=["refuse", "drop"], default="refuse", help="fate of a bad record")
    parser.add_argument("--records", type=Path, required=True, help="JSON Lines to write")
    arguments = parser.parse_args()
    needed = ["source"] if arguments.kind == "file" else ["dataset", "entry"]
    missing = [f"--{name}" for name in needed if not getattr(arguments, name)]
    if missing:
        parser.error(f"--kind {arguments.kind} needs {' and '.join(missing)}")
    return arguments


def _pinned(name: str, entry: dict[str, Any]) -> Dataset:
    dataset = dataset_of(name, entry)
    if not (dataset.revision and dataset.sha256 and dataset.records):
        raise BadInput(f"{label(dataset)} is not pinned in {LOCK} (no revision, sha256 or records): run: make pin")
    return dataset


def _check_sha256(path: Path, expected: str, key: str) -> None:
    got = file_sha256(path)
    if got != expected.lower():
        raise BadInput(
            f"{path}: wrong sha256: expected {expected} ({key}), got {got}: another file, or correct the key"
        )


def _read(path: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the records; with --bad-records drop, bad ones are replaced and a warning counts them."""
    if arguments.bad_records == "refuse":
        yield from read_raw_records(path, arguments.schema)
        return
    faults = Faults()
    yield from dropping_raw_records(path, arguments.schema, faults)
    if faults.count:
        print(f"warning: {path}: {faults.count:,} bad records are dropped: {faults}", file=sys.stderr)


def _counted(records: Iterator[dict[str, Any]], dataset: Dataset) -> Iterator[dict[str, Any]]:
    count = 0
    for record in records:
        count += 1
        yield record
    if count != dataset.records:
        raise BadInput(f"{label(dataset)}: {count} records, but {LOCK} says {dataset.records}: correct its records key")


def _write(path: Path, records: Iterator[dict[str, Any]], total: int | None = None) -> None:
    with Progress("reading records", total, "record") as bar:

        def shown() -> Iterator[dict[str, Any]]:
            for record in records:
                yield record
                bar.update(1)

        write_jsonl(path, shown())


if __name__ == "__main__":
    run(main)
