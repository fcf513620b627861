"""Faults of records: all of them listed in one error, or each accounted for in the ledger."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from adapter_build.core.faults import BadInput

LISTED = 20
MEND = "mend it, or leave it out with data.bad_records: drop"


@dataclass(frozen=True)
class Fault:
    """A fault of a record in words, and as the ledger has it: the filter, the field and the value that was expected."""

    record: str  # its id and its place in the file
    what: str
    filter: str
    field: str
    bound: str
    duplicate_of: str | None = None

    def __str__(self) -> str:
        return f"{self.record}: {self.what}"

    def reason(self) -> dict[str, Any]:
        """Return the ledger's columns on why a record was dropped."""
        return {"filter": self.filter, "field": self.field, "bound": self.bound, "duplicate_of": self.duplicate_of}


class Faults:
    """Faults as they are found: all are counted, and the first `LISTED` are listed."""

    def __init__(self) -> None:
        self._listed: list[str] = []
        self.count = 0

    def add(self, fault: str) -> None:
        """Note one more."""
        if self.count < LISTED:
            self._listed.append(fault)
        self.count += 1

    def __str__(self) -> str:
        more = self.count - len(self._listed)
        return "; ".join(self._listed) + (f"; and {more:,} more" if more else "")

    def refuse(self, path: object = None) -> None:
        """Raise `BadInput` that lists the faults, if there is one."""
        if self.count:
            prefix = f"{path}: " if path else ""
            number = f"{self.count:,} bad records: " if self.count > 1 else ""
            raise BadInput(f"{prefix}{number}{self}: {MEND}")


def odd_value(record: Any) -> tuple[str, str, str] | None:
    """Find a value that JSON in UTF-8 cannot hold: its place, its fault and what is expected there; None for none."""
    try:
        json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        return "the record", "is nested too deeply", "fewer levels"
    except ValueError:  # a UnicodeEncodeError too
        return next(_odd(record, ""), None)
    return None


def _odd(value: Any, place: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _odd(key, f"{place}.(key)")
            yield from _odd(inner, f"{place}.{ascii(key)[1:-1]}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _odd(inner, f"{place}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        name = {"nan": "NaN, which is no JSON number", "inf": "larger than any double", "-inf": "less than any double"}
        yield place.removeprefix("."), f"is {name[str(value)]}", "a finite number"
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            broken = ascii(error.object[error.start : error.end])
            what = f"holds {broken}, half of a surrogate pair, which is no character: remove or repair it"
            yield place.removeprefix("."), what, "whole characters"
