"""Strict JSON: a text that could be read in two ways, or in none, is refused.

No duplicate key, no NaN and no infinity, valid UTF-8 without a byte order mark, no lone surrogate, and bounded depth
and length.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, TypeGuard, cast

from adapter_build.core.faults import BadInput
from adapter_build.core.printable import name_shown, shown
from adapter_build.core.regular_file import read_regular, refuse_pointer_in

DEEPEST = 64  # objects and lists within one another
LONGEST = 2**27  # bytes: a tokenizer.json of 256,000 words has 34 million
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_MARK = b"\xef\xbb\xbf"


class Malformed(BadInput, ValueError):
    """A document's fault: its kind and its place in the document. The reader adds the file's name."""


def loads(content: bytes | str, longest: int = LONGEST, finite: bool = True) -> Any:
    """Return the value of a JSON text of at most `longest` bytes. Raises `Malformed`.

    With `finite` False NaN and infinity pass.
    """
    if len(content) > longest:
        raise Malformed(f"{len(content)} bytes, where {longest} are the most")
    if isinstance(content, bytes):
        if content.startswith(_MARK):
            raise Malformed("not JSON (it begins with a byte order mark)")
        try:
            content = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"not JSON (not UTF-8: {error.reason} at byte {error.start})") from None
    try:
        value = _DECODER.decode(content)
    except Malformed:
        raise
    except RecursionError:
        raise Malformed(f"nested deeper than {DEEPEST} levels") from None
    except ValueError as error:  # json's own, or a number of more digits than Python reads
        raise Malformed(f"not JSON ({' '.join(str(error).split())[:120]})") from None
    _check(value, _SURROGATE.search(content) is not None, finite)
    return value


def read_object(path: Path, mend: str) -> dict[str, Any]:
    """Return the JSON object in a file that a step made.

    Raises `BadInput` that names the file and ends with `mend`, a command that makes the file.
    """
    if not path.exists():
        raise BadInput(f"{path}: no such file: {mend}")
    return given_object(path, f"delete it and {mend}")


def given_object(path: Path, mend: str, most: int = LONGEST) -> dict[str, Any]:
    """Return the JSON object, of at most `most` bytes, in a file that somebody gave.

    Raises `BadInput` that names the file and ends with `mend`.
    """
    try:
        content = read_regular(path, most, links=True, mend=mend)
        refuse_pointer_in(content, path)
        value = loads(content, most)
    except Malformed as error:
        raise BadInput(f"{path}: {error}: {mend}") from None
    except BadInput:
        raise
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise BadInput(f"{path}: {reason}: {mend}") from None
    if not is_object(value):
        raise BadInput(f"{path}: expected a JSON object, found {type(value).__name__}: {mend}")
    return value


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether a value is an object of JSON, or a mapping of YAML."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Tell whether a value is a list of JSON or YAML."""
    return isinstance(value, list)


def _check(value: Any, halves: bool, finite: bool) -> None:
    """Refuse values that Python's json accepts: too deep, NaN and infinity, lone surrogates."""
    level, depth = [("a value in it", value)], 0
    while level:
        depth += 1
        below: list[tuple[str, Any]] = []
        for key, part in level:
            kind = cast(type[Any], type(part))
            if kind is dict:
                below += part.items()
                if halves:
                    below += [(key, name) for name in part]
            elif kind is list:
                below += [(key, item) for item in part]
            elif kind is float:
                if finite and not math.isfinite(part):
                    raise Malformed(f"{name_shown(key)} is {part}, which is no number")
            elif halves and kind is str:
                try:
                    part.encode()
                except UnicodeEncodeError:
                    raise Malformed("not JSON (half a character: a lone surrogate)") from None
        level = below
        if level and depth > DEEPEST:
            raise Malformed(f"nested deeper than {DEEPEST} levels")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Malformed(f"{shown(twice)} stands in it twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
