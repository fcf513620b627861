"""A file that holds one JSON object, read with the file in every complaint."""

import json
from pathlib import Path
from typing import Any

from faults import BadInput


def read_object(path: Path, mend: str) -> dict[str, Any]:
    """Return the JSON object in a file. Raises `BadInput` naming the file and saying how to `mend` it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file: {mend}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not JSON ({error}): delete it and {mend}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path}: expected a JSON object, found {type(value).__name__}: delete it and {mend}")
    return value
