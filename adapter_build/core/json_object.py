"""A file that holds one JSON object, read with the file in every complaint."""

from pathlib import Path
from typing import Any

from adapter_build.core import strict_json
from adapter_build.core.faults import BadInput
from adapter_build.core.git_lfs import refuse_pointer_in
from adapter_build.core.regular_file import read_regular


def read_object(path: Path, mend: str) -> dict[str, Any]:
    """Return the JSON object in a file. Raises `BadInput` naming the file and saying how to `mend` it."""
    if not path.exists():
        raise BadInput(f"{path}: no such file: {mend}")
    return given_object(path, f"delete it and {mend}")


def given_object(path: Path, mend: str, most: int = strict_json.LONGEST) -> dict[str, Any]:
    """Return the JSON object in a file that somebody gave. Raises `BadInput` naming the file and the `mend`."""
    try:
        content = read_regular(path, most, links=True, mend=mend)
        refuse_pointer_in(content, path)
        value = strict_json.loads(content, most)
    except strict_json.Malformed as error:
        raise BadInput(f"{path}: {error}: {mend}") from None
    except BadInput:
        raise
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise BadInput(f"{path}: {reason}: {mend}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path}: expected a JSON object, found {type(value).__name__}: {mend}")
    return value
