"""JSON Lines files: errors name file and line; rows are written with sorted keys."""

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from adapter_build.core import strict_json
from adapter_build.core.atomic_file import replacing
from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import open_regular


def read_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield one object per line; skip blank lines. Raises `BadInput` that names file and line."""
    try:
        with io.TextIOWrapper(open_regular(path, links=True), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _parse(path, number, line)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error.reason} at byte {error.start}): convert it to UTF-8") from None


def _parse(path: str | Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = strict_json.loads(line, finite=False)  # a loss may be NaN
    except strict_json.Malformed as error:
        raise BadInput(f"{path}:{number}: {error}") from None
    if not strict_json.is_object(row):
        raise BadInput(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
    return row


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows atomically, as UTF-8 lines with sorted keys. Returns the number of rows."""
    count = 0
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
    return count
