"""Differences of two tables or JSON documents, with their size where they are numbers.

Contents are views of bytes in memory, so that a file and a member of an archive are compared alike.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

WIDTH = 60  # characters of a text that a message shows
IDS = ("id", "record_id")


@dataclass(frozen=True)
class Difference:
    """One place where two files differ.

    `size` is the distance of two numbers as a share of the larger one; of tensors, the largest distance as a share of
    the largest number. It is NaN if a number is NaN, and infinite for anything that is not a number.
    """

    where: str
    what: str
    size: float = math.inf


def of_json(here: memoryview, rebuilt: memoryview) -> Iterator[Difference]:
    """Yield a difference per value of a JSON document. Raises `ValueError` for what is none."""
    yield from of_values(json.loads(bytes(here)), json.loads(bytes(rebuilt)))


def of_values(before: Any, after: Any, where: str = "") -> Iterator[Difference]:
    """Yield a difference per value, named by its path (`adapters[0].digest`)."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            path = f"{where}.{key}" if where else key
            if key in before and key in after:
                yield from of_values(before[key], after[key], path)
            else:
                yield only_in(path, key in before)
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            if index < min(len(before), len(after)):
                yield from of_values(before[index], after[index], f"{where}[{index}]")
            else:
                yield only_in(f"{where}[{index}]", index < len(before))
    elif json.dumps(before, default=str) != json.dumps(after, default=str):
        yield Difference(where or "its value", in_words(before, after), _share(before, after))


def _share(before: Any, after: Any) -> float:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (before, after)):
        return math.inf
    return abs(before - after) / (max(abs(before), abs(after)) or 1)


def of_records(here: memoryview, rebuilt: memoryview) -> Iterator[Difference]:
    """Yield a difference per field of a JSON Lines file, by record. Raises `ValueError` for what is none."""
    yield from _rows(*([json.loads(line) for line in bytes(view).splitlines()] for view in (here, rebuilt)))


def of_parquet(here: memoryview, rebuilt: memoryview) -> Iterator[Difference]:
    """Yield a difference per cell of a Parquet table, by record. Raises `pyarrow.ArrowInvalid` for what is none."""
    before, after = (pq.read_table(pa.BufferReader(view)) for view in (here, rebuilt))
    if before.schema != after.schema:
        types = ({field.name: str(field.type) for field in table.schema} for table in (before, after))
        yield from of_values(next(types), next(types))
    yield from _rows(before.to_pylist(), after.to_pylist())


def _rows(here: Sequence[Any], rebuilt: Sequence[Any]) -> Iterator[Difference]:
    key = next((key for key in IDS if _unique(here, key) and _unique(rebuilt, key)), None)
    before, after = (
        {f"record {row[key]}" if key else f"row {number}": row for number, row in enumerate(rows, 1)}
        for rows in (here, rebuilt)
    )
    for label in dict.fromkeys([*before, *after]):
        if label in before and label in after:
            for found in of_values(before[label], after[label]):
                yield Difference(f"{label}, {found.where}", found.what, found.size)
        else:
            yield only_in(label, label in before)
    yield from of_order("records", before, after)


def _unique(rows: Sequence[Any], key: str) -> bool:
    return all(isinstance(row, dict) and key in row for row in rows) and len({row[key] for row in rows}) == len(rows)


def of_order(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the first place where the same names stand in another order."""
    old, new = list(before), list(after)
    if old != new and {*old} == {*new}:
        first = shared(old, new)
        yield Difference(f"order of {what}", f"number {first + 1} is {old[first]} → {new[first]}")


def shared(before: Sequence[Any], after: Sequence[Any]) -> int:
    """Return how many items two sequences have in common at their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))


def only_in(where: str, here: bool) -> Difference:
    """Return the difference of a name that one of the two files lacks."""
    return Difference(where, "only here, not in what was rebuilt" if here else "only in what was rebuilt")


def in_words(before: Any, after: Any) -> str:
    """Return two values side by side, long texts cut to the surroundings of their first difference."""
    old, new = (value if isinstance(value, str) else json.dumps(value, default=str) for value in (before, after))
    part = shared(old, new)
    begin = max(0, part - WIDTH // 2)
    return " → ".join(
        ("…" if begin else "") + repr(text[begin : begin + WIDTH])[1:-1] + ("…" if len(text) > begin + WIDTH else "")
        for text in (old, new)
    )
