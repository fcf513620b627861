"""A split of which nothing is left to train or test on."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from faults import BadInput


def refuse_empty(split: str, entries: Sequence[dict[str, Any]]) -> None:
    """Raise `BadInput` unless one of the ledger's rows says that a record is kept."""
    if not entries:
        raise BadInput(f"the {split} split holds no record: bring more records or another split.seed")
    if any(entry["outcome"] == "kept" for entry in entries):
        return
    reasons = Counter(f"{entry['filter']} of {entry['field']} not in {entry['bound']}" for entry in entries)
    counted = ", ".join(f"{count} with {reason}" for reason, count in reasons.most_common())
    raise BadInput(
        f"the {split} split is empty after curation ({len(entries)} records: {counted}): "
        "loosen curate.min_words, curate.max_words, curate.min_score or curate.null_score, or bring more records"
    )
