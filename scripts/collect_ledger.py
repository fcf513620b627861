"""Join the ledgers of the splits and the unusable records: one row per raw record, in the raw order."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import read_jsonl
from adapter_build.records.ledger import read_ledger, write_ledger


def main() -> None:
    """Write the whole ledger. Raises `BadInput` naming a record that is missing, occurs twice or is unknown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, required=True, help="raw records, JSON Lines")
    parser.add_argument("--unusable", type=Path, required=True, help="records that reached no split, JSON Lines")
    parser.add_argument("--splits", type=Path, nargs="+", required=True, help="ledgers of the splits, Parquet")
    parser.add_argument("--ledger", type=Path, required=True, help="whole ledger to write, Parquet")
    arguments = parser.parse_args()

    rows: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path, row in _rows(arguments.unusable, arguments.splits):
        other, _ = rows.setdefault(row["record_id"], (path, row))
        if rows[row["record_id"]][1] is not row:
            raise BadInput(f"record {row['record_id']} is accounted for twice: in {other} and in {path}")
    whole = []
    for position, record in enumerate(read_jsonl(arguments.records)):
        record_id = str(record["question_id"])
        if record_id not in rows:
            raise BadInput(f"record {record_id} (position {position}) of {arguments.records} is in no split's ledger")
        path, row = rows.pop(record_id)
        if row["position"] != position:
            raise BadInput(
                f"{path}: record {record_id} has position {row['position']}, in {arguments.records} it has {position}: "
                "made from other raw records"
            )
        whole.append(row)
    if rows:
        record_id, (path, _) = next(iter(rows.items()))
        raise BadInput(f"{path}: record {record_id} is not in {arguments.records}: made from other raw records")
    write_ledger(arguments.ledger, whole)


def _rows(unusable: Path, splits: list[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    for row in read_jsonl(unusable):
        yield unusable, {"record_id": row.pop("id"), "outcome": "dropped", **row}
    for split in splits:
        for row in read_ledger(split):
            yield split, row


if __name__ == "__main__":
    run(main)
