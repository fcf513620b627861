"""Raw records that came, went or were edited between two adapters, from ledgers, prompts and raw files."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from adapter_build.audit.training_records import LEDGER, fate, records
from adapter_build.core.jsonl import read_jsonl
from adapter_build.records.ledger import query
from adapter_build.records.splits import SPLITS

ROLES = ("train", "validation", "test")
SIDES = ("before", "after")
USED = pa.schema([("record_id", pa.string()), ("role", pa.string())])
CONTENT = pa.schema([("record_id", pa.string()), ("content", pa.string())])
SIDE = """{side} AS (
    SELECT ledger_{side}.*, role, raw_{side}.content AS raw, IF(role IS NULL, NULL, prompt_{side}.content) AS prompt
    FROM ledger_{side} LEFT JOIN used_{side} USING (record_id) LEFT JOIN raw_{side} USING (record_id)
    LEFT JOIN prompt_{side} USING (record_id)
)"""
# A record dropped by the same filter on the same value in both builds is no difference, even if the bound changed.
CHANGED = """
SELECT before, after FROM before FULL JOIN after ON before.record_id = after.record_id
WHERE (before.record_id, before.raw, before.role, before.prompt, before.outcome, before.split, before.step,
       before.filter, before.field, before.measured) IS DISTINCT FROM
      (after.record_id, after.raw, after.role, after.prompt, after.outcome, after.split, after.step,
       after.filter, after.field, after.measured)
ORDER BY coalesce(after.position, before.position), after.position IS NULL
"""


def files_read(results: Path, adapter: str) -> list[Path]:
    """Return the files that a comparison of records reads of a build."""
    return [
        results / LEDGER,
        results / "checkpoints" / f"{adapter}.nemo",
        *raw_files(results),
        *_prompts(results, adapter),
    ]


def compare_records(*builds: tuple[Path, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the differences of two (results, adapter): counts as {name, before, after}, and a row per record.

    The rows are in the raw order of the second build, with the columns:

    record_id
    change    in, out, moved (to another role), edited; unused: the record differs, but neither adapter used it
    raw       in, out or edited, if the raw record itself changed; else null
    prompt    edited, if its prompt is another; else null
    before    its role or its fate; null if there was no such record
    after     the same of the second build
    """
    relations: dict[str, Any] = {}
    counts: dict[str, Counter[str]] = {}
    for side, (results, adapter) in zip(SIDES, builds, strict=True):
        used = records(results, adapter)
        raw = _contents(raw_files(results))
        counts[side] = Counter(row["role"] for row in used)
        counts[side] |= {"raw": len(raw), "seen by the optimizer": sum(1 for row in used if row["times"])}
        relations |= {
            f"ledger_{side}": results / LEDGER,
            f"used_{side}": pa.Table.from_pylist([{key: row[key] for key in USED.names} for row in used], USED),
            f"raw_{side}": raw,
            f"prompt_{side}": _contents(_prompts(results, adapter)),
        }
    sides = ", ".join(SIDE.format(side=side) for side in SIDES)
    rows = [_described(row["before"], row["after"]) for row in query(f"WITH {sides} {CHANGED}", **relations)]
    names = ("raw", *ROLES, "seen by the optimizer")
    totals = [{"name": f"records: {name}", **{side: counts[side][name] for side in SIDES}} for name in names]
    return [entry for entry in totals if entry["before"] != entry["after"]], rows


def _described(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    a, b = (row if row and row["record_id"] is not None else None for row in (before, after))
    roles = (a and a["role"], b and b["role"])
    if not any(roles):
        change = "unused"
    elif roles[0] != roles[1]:
        change = "moved" if all(roles) else "in" if roles[1] else "out"
    else:
        change = "edited"
    return {
        "record_id": (a or b)["record_id"],  # type: ignore[index]
        "change": change,
        "raw": ("edited" if a["raw"] != b["raw"] else None) if a and b else "in" if b else "out",
        "prompt": "edited" if a and b and all(roles) and a["prompt"] != b["prompt"] else None,
        "before": a and (a["role"] or fate(a)),
        "after": b and (b["role"] or fate(b)),
    }


def raw_files(results: Path) -> list[Path]:
    """Return the file of raw records; the split files of a build from finished splits."""
    raw = results / "raw/records.jsonl"
    return [raw] if raw.is_file() else [results / f"curated/law-qa-{split}.jsonl" for split in SPLITS]


def _prompts(results: Path, adapter: str) -> list[Path]:
    return [results / "prompts" / adapter / f"{split}.jsonl" for split in SPLITS]


def _contents(files: list[Path]) -> pa.Table:
    """Return the digest of each record, which does not depend on the order of its keys."""
    rows = []
    for row in (row for file in files for row in read_jsonl(file)):
        digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
        rows.append({"record_id": str(row.get("question_id", row.get("id"))), "content": digest})
    return pa.Table.from_pylist(rows, schema=CONTENT)
