"""Take finished splits that somebody brings (law-qa-{train,val,test}.jsonl), checked, in place of curating raw records.

Each record needs id, title, question and answer; what else a curated record has is null where it is not given.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults import BadInput, run
from jsonl import read_jsonl, write_jsonl
from ledger import write_ledger

TEXTS = ("title", "question", "answer")
UNKNOWN = ("question_score", "answer_score", "answer_id", "tags", "license", "link")


def main() -> None:
    """Write the three splits and a ledger that keeps every record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, nargs=3, required=True, help="the three splits: train, val, test")
    parser.add_argument("--curated", type=Path, nargs=3, required=True, help="the three files to write")
    parser.add_argument("--ledger", type=Path, required=True, help="ledger to write, Parquet")
    arguments = parser.parse_args()

    targets = {target.name: target for target in arguments.curated}
    entries: list[dict[str, Any]] = []
    places: dict[str, str] = {}
    for source in arguments.source:
        if source.name not in targets:
            raise BadInput(f"{source}: expected a file named {', '.join(sorted(targets))}")
        write_jsonl(targets[source.name], _records(source, entries, places))
    write_ledger(arguments.ledger, entries)


def _records(source: Path, entries: list[dict[str, Any]], places: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the checked records of one split; append their rows to `entries`, note their ids in `places`."""
    split = source.stem.rpartition("-")[2]
    before = len(entries)
    for number, row in enumerate(read_jsonl(source), 1):
        place = f"{source}: record {number}"
        record_id = row.get("id")
        if not isinstance(record_id, str | int) or isinstance(record_id, bool) or record_id == "":
            raise BadInput(f"{place}: has no id (a text or a number)")
        record_id = str(record_id)
        for text in TEXTS:
            if not isinstance(row.get(text), str) or not row[text].strip():
                raise BadInput(f"{place} (id {record_id}): {text} must be a text that is not empty")
        # The same question in train and in test would make the scores worthless.
        first = places.setdefault(record_id, place)
        if first != place:
            raise BadInput(f"{place}: id {record_id} is also that of {first}: an id may occur once in all three splits")
        # Positions run through the three files: there is no raw file to count in.
        position = len(entries)
        entries.append({"record_id": record_id, "position": position, "split": split, "outcome": "kept"})
        yield dict.fromkeys(UNKNOWN) | row | {"id": record_id, "position": position}
    if len(entries) == before:
        raise BadInput(f"{source}: holds no record")


if __name__ == "__main__":
    run(main)
