"""Join the shards of a curated split, in order: the same bytes as the split curated whole."""

import argparse
import shutil
from pathlib import Path

import find_package  # noqa: F401
from adapter_build.core.faults import run
from adapter_build.records.ledger import read_ledger, write_ledger
from adapter_build.records.splits import refuse_empty


def main() -> None:
    """Write the curated split and its ledger."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", required=True, help="which split it is")
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="curated records of each part, in order")
    parser.add_argument("--ledgers", type=Path, nargs="+", required=True, help="ledger of each part, in order")
    parser.add_argument("--curated", type=Path, required=True, help="curated records to write, JSON Lines")
    parser.add_argument("--ledger", type=Path, required=True, help="ledger to write, Parquet")
    arguments = parser.parse_args()
    entries = [entry for path in arguments.ledgers for entry in read_ledger(path)]
    refuse_empty(arguments.split, entries)
    with open(arguments.curated, "wb") as curated:
        for path in arguments.parts:
            with open(path, "rb") as part:
                shutil.copyfileobj(part, curated)
    write_ledger(arguments.ledger, entries)


if __name__ == "__main__":
    run(main)
