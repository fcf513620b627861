"""Check finished splits that the user brings (law-qa-{train,val,test}.jsonl) and take them in place of raw records.

Each file is JSON Lines or a JSON array, also packed (xz, gzip, bzip2). Each record needs id, and title, question and
answer in plain text; other fields of a curated record are null where they are not given. Bad records stop the step,
which lists them; with --bad-records drop, the ledger has a row for each with the reason.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import read_jsonl, write_jsonl
from adapter_build.records.bad_records import Fault, Faults, odd_value
from adapter_build.records.duplicates import shared_between
from adapter_build.records.json_stream import Broken, read_values
from adapter_build.records.ledger import write_ledger
from adapter_build.records.record_shapes import name_records
from adapter_build.records.splits import SCORES, TEXTS, split_of

UNKNOWN = (*SCORES, "answer_id", "tags", "license", "link")


def main() -> None:
    """Write the three splits and a ledger with a row for every record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, nargs=3, required=True, help="the three splits: train, val, test")
    parser.add_argument("--bad-records", choices=["refuse", "drop"], default="refuse", help="fate of a bad record")
    parser.add_argument("--curated", type=Path, nargs=3, required=True, help="the three files to write")
    parser.add_argument("--ledger", type=Path, required=True, help="ledger to write, Parquet")
    arguments = parser.parse_args()

    targets = {split_of(target): target for target in arguments.curated}
    reader = _Reader()
    written: dict[str, Path] = {}
    try:
        for source in arguments.source:
            split = split_of(source)
            if split is None or split not in targets:
                names = ", ".join(sorted(target.name for target in arguments.curated))
                raise BadInput(f"{source}: expected a file named {names}, or that with .gz, .xz or .bz2")
            written[split] = targets[split]
            write_jsonl(targets[split], reader.records(source, split))
        if arguments.bad_records == "refuse":
            reader.faults.refuse()
        reader.refuse_empty()
    except BadInput:
        for path in written.values():
            path.unlink(missing_ok=True)
        raise
    if reader.faults.count:
        print(f"warning: {reader.faults.count:,} bad records are dropped: {reader.faults}", file=sys.stderr)
    if shared := shared_between({split: read_jsonl(path) for split, path in written.items()}):
        print(f"warning: {shared}: scores will be too high; leave one of each out", file=sys.stderr)
    write_ledger(arguments.ledger, reader.ledger())


class _Reader:
    """Reader of one split after the other; positions count on from split to split, for want of a raw file."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._entries: list[dict[str, Any]] = []
        self._bad: list[tuple[dict[str, Any], str | None]] = []  # rows of bad records, each with the id in it
        self._places: dict[str, str] = {}
        self._sources: dict[str, Path] = {}

    def records(self, source: Path, split: str) -> Iterator[dict[str, Any]]:
        """Yield the good records of one split."""
        self._sources[split] = source
        for number, row in enumerate(read_values(source), 1):
            position = len(self._entries)
            entry: dict[str, Any] = {"position": position, "split": split, "outcome": "kept"}
            self._entries.append(entry)
            place = f"{source}: record {number}"
            record_id = _id(row)
            fault = _fault(place, record_id, row)
            if fault and number == 1 and (shape := name_records(row, source, "curated")):
                raise BadInput(f"{source}: {shape}")
            if fault is None:
                assert record_id is not None
                # The same question in train and in test would make the scores worthless.
                first = self._places.setdefault(record_id, place)
                if first != place:
                    what = f"id {record_id} is also that of {first}: an id may occur once in all three splits"
                    fault = Fault(place, what, "unique_id", "id", "one of its own", record_id)
            if fault:
                self.faults.add(str(fault))
                entry |= {"outcome": "dropped", "step": "acquire_curated", **fault.reason()}
                self._bad.append((entry, record_id))
                continue
            entry["record_id"] = record_id
            yield dict.fromkeys(UNKNOWN) | row | {"id": record_id, "position": position}

    def refuse_empty(self) -> None:
        """Raise `BadInput` if a split has no good record."""
        for split, source in self._sources.items():
            outcomes = [entry["outcome"] for entry in self._entries if entry["split"] == split]
            if "kept" not in outcomes:
                which = "good record" if outcomes else "record"
                raise BadInput(f"{source}: holds no {which}")

    def ledger(self) -> list[dict[str, Any]]:
        """Return a row for each record. A bad record without an id of its own is named @ and its position."""
        for entry, record_id in self._bad:
            if record_id is None or record_id in self._places:
                record_id = f"@{entry['position']}"
            self._places[record_id] = entry["step"]
            entry["record_id"] = record_id
        return self._entries


def _id(row: Any) -> str | None:
    found = row.get("id") if isinstance(row, dict) else None
    if not isinstance(found, str | int) or isinstance(found, bool) or not str(found).strip():
        return None
    return None if odd_value(found) else str(found)


def _fault(place: str, record_id: str | None, row: Any) -> Fault | None:
    if isinstance(row, Broken):
        return Fault(place, row.what, "json", "the record", "JSON")
    if not isinstance(row, dict):
        return Fault(place, "expected a JSON object", "curated_schema", "the record", "object")
    if odd := odd_value(row):
        field, what, bound = odd
        return Fault(_who(place, record_id), f"{field} {what}", "curated_schema", field, bound)
    if record_id is None:
        return Fault(place, "has no id (a text or a number)", "curated_schema", "id", "a text or a number")
    for text in TEXTS:
        if not isinstance(row.get(text), str) or not row[text].strip():
            what = f"{text} must be a text that is not empty"
            return Fault(_who(place, record_id), what, "curated_schema", text, "a text that is not empty")
    return None


def _who(place: str, record_id: str | None) -> str:
    return f"{place} (id {record_id[:60]})" if record_id else place


if __name__ == "__main__":
    run(main)
