"""Take each question with its best answer and divide them 80/10/10 into train, val and test.

    --method hash      A record's split follows from the seed and its id alone, so adding or removing records moves no
                       other one. The rows of a file lie in the order of their hashes: any head of it is a fair sample.
                       Records with the same title and question go where the one with the lowest id goes.
    --method shuffle   The tutorial's: all records shuffled with the seed, cut at 80 % and 90 %. One record more can
                       move every other one. The rows lie in the shuffled order.

The best answer has the highest score; an unknown score is lower than any, and the first one wins a tie.
"""

import argparse
import hashlib
import itertools
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import read_jsonl, write_jsonl
from adapter_build.records.duplicates import first_of_duplicates, shared_between
from adapter_build.records.splits import SPLITS

TENTHS = {"train": 8, "val": 1, "test": 1}


def main() -> None:
    """Write the three splits and the records that reach none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, required=True, help="raw records, JSON Lines")
    parser.add_argument("--method", choices=["hash", "shuffle"], required=True, help="how records are divided")
    parser.add_argument("--seed", type=int, required=True, help="seed of the hash or the shuffle; the tutorial's is 42")
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=Path, required=True, help=f"the {split} split to write")
    parser.add_argument("--unusable", type=Path, required=True, help="records that reach no split, to write")
    arguments = parser.parse_args()

    usable, unusable = [], []
    for position, record in enumerate(read_jsonl(arguments.records)):
        if "answers" not in record:
            unusable.append(_bad(position, record))
        elif record["answers"]:
            usable.append(question_and_answer(position, record))
        else:
            unusable.append(_no_answer(position, record))
    if not usable:
        raise BadInput(f"{arguments.records}: no record has an answer: nothing to split")
    if arguments.method == "hash":
        repeated = first_of_duplicates(usable)
        splits = by_hash(usable, arguments.seed, repeated)
        for record_id, first in itertools.islice(repeated.items(), 1):
            print(
                f"note: {len(repeated):,} records have title and question of another, as {record_id} those of {first}: "
                "each is in the other's split",
                file=sys.stderr,
            )
    else:
        splits = by_shuffle(usable, arguments.seed)
        if shared := shared_between(splits):
            print(
                f"warning: {shared}: scores will be too high; split.method: hash keeps such records together",
                file=sys.stderr,
            )
    for split, rows in splits.items():
        write_jsonl(getattr(arguments, split), rows)
    write_jsonl(arguments.unusable, unusable)


def question_and_answer(position: int, record: dict[str, Any]) -> dict[str, Any]:
    """Return the split record of a raw record that has an answer. Its texts are still HTML."""
    answer = max(record["answers"], key=_rank)  # max() returns the first of equals
    return {
        "id": str(record["question_id"]),
        "position": position,
        "title": record["question_title"],
        "question": record["question_body"],
        "answer": answer["body"],
        "question_score": record["score"],
        "answer_score": answer["score"],
        "answer_id": answer["answer_id"],
        "tags": record["tags"],
        "license": record["license"],
        "link": record["link"],
    }


def by_hash(
    rows: list[dict[str, Any]], seed: int, repeated: Mapping[str, str] = MappingProxyType({})
) -> dict[str, list[dict[str, Any]]]:
    """Divide rows by the sha256 of seed and id, read as a fraction of 1: below 0.8 train, below 0.9 val, else test.

    `repeated` maps a record's id to the id of the record whose split it shares.
    """
    ordered = sorted((_hash(seed, row["id"]), row["id"], row) for row in rows)
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for fraction, record_id, row in ordered:
        first = repeated.get(record_id)
        splits[_split_of(_hash(seed, first) if first else fraction)].append(row)
    return splits


def by_shuffle(rows: list[dict[str, Any]], seed: int) -> dict[str, list[dict[str, Any]]]:
    """Divide rows as the tutorial's `random_split_rows` does (NeMo Curator, tutorials/peft-curation-with-sdg)."""
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    train = int(0.8 * len(shuffled))
    val = train + int(0.1 * len(shuffled))
    return {"train": shuffled[:train], "val": shuffled[train:val], "test": shuffled[val:]}


def _rank(answer: dict[str, Any]) -> tuple[bool, int]:
    score = answer["score"]
    return score is not None, score or 0


def _hash(seed: int, record_id: str) -> int:
    """Return 64 bits: the numerator of a fraction over 2**64. Integers, so that no rounding decides a split."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{record_id}".encode()).digest()[:8])


def _split_of(hashed: int) -> str:
    tenths = 0
    for split, share in TENTHS.items():
        tenths += share
        if hashed * 10 < tenths << 64:
            return split
    raise AssertionError("the shares sum to ten tenths")


def _bad(position: int, record: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a record that was dropped when the raw data was read."""
    reason = {"step": "acquire_raw", **record["bad_record"], "measured": None}
    return {"id": str(record["question_id"]), "position": position, **reason}


def _no_answer(position: int, record: dict[str, Any]) -> dict[str, Any]:
    reason = {"step": "split_records", "filter": "has_answer", "field": "answers", "measured": 0, "bound": "1.."}
    return {"id": str(record["question_id"]), "position": position, **reason}


if __name__ == "__main__":
    run(main)
