"""A file that holds one JSON object, read with the file in every complaint."""

import json
from pathlib import Path
from typing import Any

from faults import BadInput
from git_lfs import refuse_pointer
from hermetic.regular_file import JSON, read_regular_text


def read_object(path: Path, mend: str) -> dict[str, Any]:
    """Return the JSON object in a file. Raises `BadInput` naming the file and saying how to `mend` it."""
    if not path.exists():
        raise BadInput(f"{path}: no such file: {mend}")
    return given_object(path, f"delete it and {mend}")


def given_object(path: Path, mend: str, unique: bool = False, most: int = JSON) -> dict[str, Any]:
    """Return the JSON object in a file that somebody gave. Raises `BadInput` naming the file and the `mend`.

    It may have `most` bytes. `unique`: refuse a key that stands twice, of which one reader takes the first and another
    the last.
    """
    refuse_pointer(path)
    try:
        text = read_regular_text(path, most, links=True, mend=mend)
        value = json.loads(text, object_pairs_hook=_without_duplicates if unique else None)
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else error}: {mend}") from None
    except KeyError as error:
        raise BadInput(f"{path}: {error.args[0]} stands in it twice: {mend}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON ({error}): {mend}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path}: expected a JSON object, found {type(value).__name__}: {mend}")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise KeyError(repr(key))
        found[key] = value
    return found
