"""The splits: their names, their records' fields, the files that finished ones come in, the refusal of an empty one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput

SPLITS = ("train", "val", "test")
# Of a record: what curation cleans and what prompts are made of, and the votes, each null where unknown.
TEXTS, SCORES = ("title", "question", "answer"), ("question_score", "answer_score")
ENDINGS = tuple(f"{kind}{packed}" for kind in (".jsonl", ".json") for packed in ("", ".xz", ".gz", ".bz2"))


def finished_files(folder: str | Path) -> list[str]:
    """Return the files of train, val and test in a folder of finished splits (data.source: curated).

    Of each the first of `ENDINGS` that is there, else the name that is missing.
    """
    return [_file(f"{folder}/law-qa-{split}") for split in SPLITS]


def split_of(path: Path) -> str | None:
    """Return the split that a file's name says, or None."""
    return next((split for split in SPLITS if path.name in {f"law-qa-{split}{ending}" for ending in ENDINGS}), None)


def _file(stem: str) -> str:
    return next((stem + ending for ending in ENDINGS if Path(stem + ending).is_file()), stem + ENDINGS[0])


def refuse_empty(split: str, rows: Sequence[dict[str, Any]]) -> None:
    """Raise `BadInput` unless one of a split's rows in the ledger says that its record is kept.

    The message counts the dropped records by filter, with the range of what was measured, and names the keys to loosen.
    """
    if not rows:
        raise BadInput(f"the {split} split holds no record: bring more records or another split.seed")
    if any(row["outcome"] == "kept" for row in rows):
        return
    reasons: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        reasons.setdefault(f"{row['filter']} of {row['field']} not in {row['bound']}", []).append(row)
    ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
    counted = ", ".join(f"{len(dropped)} with {reason}{_measured(dropped)}" for reason, dropped in ordered)
    raise BadInput(f"the {split} split is empty after curation ({len(rows)} records: {counted}): {_mend(rows)}")


def _measured(dropped: Sequence[dict[str, Any]]) -> str:
    values = [row["measured"] for row in dropped if row.get("measured") is not None]
    if not values:
        return ""
    low, high = (f"{value:g}" for value in (min(values), max(values)))
    return f" (it was {low})" if low == high else f" (it was {low} to {high})"


def _mend(rows: Sequence[dict[str, Any]]) -> str:
    """Return the keys that would keep some of the records."""
    mends = []
    if any(row["filter"] == "word_count" for row in rows):
        mends.append(
            "loosen curate.min_words and curate.max_words (words are counted at blanks; in scripts without blanks by "
            "character: adapter_build/records/word_count.py)"
        )
    if any(row["filter"] == "min_score" for row in rows):
        mends.append("lower curate.min_score, or set curate.null_score: keep if scores are unknown")
    return "; ".join([*mends, "or bring more records"])
