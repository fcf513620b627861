"""Duplicates: records with the same title and question, whatever their ids, markup and case."""

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
WORD = re.compile(r"\w+")
STATE = re.compile(
    r"\[(?:duplicate|closed|on hold|migrated)\]\s*$", re.IGNORECASE
)  # what Stack Exchange adds to a title


def first_of_duplicates(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return, for each record that repeats a question, its id → the lowest id of the records with that question."""
    groups: dict[bytes, list[str]] = {}
    for row in rows:
        groups.setdefault(_key(row), []).append(row["id"])
    found: dict[str, str] = {}
    for ids in groups.values():
        if len(ids) > 1:
            first = min(ids, key=lambda record_id: (len(record_id), record_id))
            found |= {record_id: first for record_id in ids if record_id != first}
    return found


def shared_between(splits: Mapping[str, Iterable[dict[str, Any]]]) -> str:
    """Return in words how many records of later splits repeat one of an earlier split, with an example; '' for none."""
    places: dict[bytes, tuple[str, str]] = {}
    count, example = 0, ""
    for split, rows in splits.items():
        for row in rows:
            other, other_id = places.setdefault(_key(row), (split, row["id"]))
            if other != split:
                count += 1
                example = example or f"{row['id']} ({split}) that of {other_id} ({other})"
    return f"{count:,} records have title and question of a record in another split, as {example}" if count else ""


def _key(row: dict[str, Any]) -> bytes:
    texts = [STATE.sub("", row["title"]), TAG.sub(" ", row["question"])]
    plain = [unicodedata.normalize("NFKC", html.unescape(text)).casefold() for text in texts]
    words = "\n".join(" ".join(WORD.findall(text)) or " ".join(text.split()) for text in plain)
    return hashlib.sha256(words.encode()).digest()[:16]
