"""What changed between two adapters, in lines for a terminal."""

import re
from collections.abc import Iterator
from typing import Any

SHOWN = 20  # records
SIGNS = {"in": "+", "out": "-", "moved": ">", "edited": "~", "unused": "."}


def changes(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines on what `audit_diff.diff` found."""
    a, b = found["before"], found["after"]
    yield f"{a['adapter']} in {a['results']} → {b['adapter']} in {b['results']}"
    if not any(found[section] for section in found if section not in ("before", "after")):
        yield f"nothing changed: {a['digest']}"
        return
    for section in ("data", "records", "parameters", "code", "images", "metrics"):
        if found[section]:
            yield section
            yield from _records(found[section]) if section == "records" else map(_line, found[section])
    same = "the same adapter" if a["digest"] == b["digest"] else f"adapter {a['digest'][:13]} → {b['digest'][:13]}"
    yield f"files: {len(found['files'])} differ; {same}"
    for entry in found["unexplained"]:
        expected = f": {entry['expected']} lets it" if "expected" in entry else ""
        expected += f" (on {entry['processors']})" if "processors" in entry else ""
        yield f"  of the same inputs, code and parameters {entry['steps'][0]} made another {entry['name']}{expected}"


def _line(entry: dict[str, Any]) -> str:
    before, after = (_short(entry[side]) for side in ("before", "after"))
    steps = entry.get("steps", [])
    of = f"  ({steps[0]}{f' and {len(steps) - 1} more' if len(steps) > 1 else ''})" if steps else ""
    return f"  {entry['name']}  {before} → {after}{of}"


def _records(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows[:SHOWN]:
        edited = [what for what in ("raw", "prompt") if row[what] == "edited"]
        uses = list(dict.fromkeys(row[side] or "not in the raw data" for side in ("before", "after")))
        note = f"  ({' and '.join(edited)} edited)" if edited else ""
        yield f"  {SIGNS[row['change']]} {row['record_id']}  {' → '.join(uses)}{note}"
    if len(rows) > SHOWN:
        yield f"    and {len(rows) - SHOWN:,} more: --json lists all"


def _short(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(value) if isinstance(value, list) else str(value)
    text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", text)  # a digest, or a commit
    return text if len(text) <= 60 else f"{text[:57]}..."
