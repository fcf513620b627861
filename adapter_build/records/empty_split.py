"""A split of which nothing is left to train or test on."""

from collections.abc import Sequence
from typing import Any

from adapter_build.core.faults import BadInput


def refuse_empty(split: str, entries: Sequence[dict[str, Any]]) -> None:
    """Raise `BadInput` unless one of the ledger's rows says that a record is kept."""
    if not entries:
        raise BadInput(f"the {split} split holds no record: bring more records or another split.seed")
    if any(entry["outcome"] == "kept" for entry in entries):
        return
    reasons: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        reasons.setdefault(f"{entry['filter']} of {entry['field']} not in {entry['bound']}", []).append(entry)
    ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
    counted = ", ".join(f"{len(dropped)} with {reason}{_measured(dropped)}" for reason, dropped in ordered)
    raise BadInput(f"the {split} split is empty after curation ({len(entries)} records: {counted}): {_mend(entries)}")


def _measured(dropped: Sequence[dict[str, Any]]) -> str:
    values = [entry["measured"] for entry in dropped if entry.get("measured") is not None]
    if not values:
        return ""
    low, high = (f"{value:g}" for value in (min(values), max(values)))
    return f" (it was {low})" if low == high else f" (it was {low} to {high})"


def _mend(entries: Sequence[dict[str, Any]]) -> str:
    """Return the keys that would keep some of the records, and why these dropped them."""
    mends = []
    counts = [entry for entry in entries if entry["filter"] == "word_count"]
    if counts:
        mends.append(
            "loosen curate.min_words and curate.max_words (words are counted at blanks; in scripts without blanks by "
            "character: adapter_build/records/word_count.py)"
        )
    if any(entry["filter"] == "min_score" for entry in entries):
        mends.append("lower curate.min_score, or set curate.null_score: keep if scores are unknown")
    return "; ".join([*mends, "or bring more records"])
