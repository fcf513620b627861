"""Shapes of foreign documents: a type, a bound and a pattern for every field, and no field beyond them.

A shape is a function: called with a value that does not fit, it raises `Malformed`, which names the field.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from adapter_build.core.printable import name_shown, shown
from adapter_build.core.strict_json import Malformed, is_list, is_object

Shape = Callable[[Any], None]
MOST = 100_000  # items of a list, keys of a mapping
LONGEST = 4096  # characters of a name


def text(pattern: str, what: str, longest: int = LONGEST) -> Shape:
    """Return the shape of texts that a pattern matches from end to end; `what` describes them in an error."""
    match = re.compile(pattern, re.DOTALL).fullmatch

    def check(value: Any) -> None:
        if type(value) is not str or len(value) > longest or not match(value):
            raise Malformed(f" is {shown(value)}, not {what}")

    return check


def only(*allowed: Any) -> Shape:
    """Return the shape of these values alone, type included: 1 is neither true nor 1.0."""

    def check(value: Any) -> None:
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise Malformed(f" is {shown(value)}, not {' or '.join(map(repr, allowed))}")

    return check


def integer(least: int, most: int) -> Shape:
    """Return the shape of whole numbers from `least` to `most`."""

    def check(value: Any) -> None:
        if type(value) is not int or not least <= value <= most:
            raise Malformed(f" is {shown(value)}, not a whole number from {least} to {most}")

    return check


def flag(value: Any) -> None:
    """Accept true and false: a shape itself."""
    if type(value) is not bool:
        raise Malformed(f" is {shown(value)}, neither true nor false")


def number(value: Any) -> None:
    """Accept any number: a shape itself."""
    if type(value) not in (int, float):
        raise Malformed(f" is {shown(value)}, not a number")


def null_or(shape: Shape) -> Shape:
    """Return a shape that null fits, too."""

    def check(value: Any) -> None:
        if value is not None:
            shape(value)

    return check


def each(shape: Shape, least: int = 0, most: int = MOST) -> Shape:
    """Return the shape of lists of `least` to `most` values of a shape."""

    def check(value: Any) -> None:
        if not is_list(value):
            raise Malformed(f" is {shown(value)}, not a list")
        if not least <= len(value) <= most:
            raise Malformed(f" has {len(value)} items, not {least} to {most}")
        for number, item in enumerate(value):
            _inner(shape, item, str(number))

    return check


def mapping(key: Shape, shape: Shape, most: int = MOST) -> Shape:
    """Return the shape of objects whose keys are of one shape and whose values are of another."""

    def check(value: Any) -> None:
        if not is_object(value):
            raise Malformed(f" is {shown(value)}, not an object")
        if len(value) > most:
            raise Malformed(f" has {len(value)} keys, more than {most}")
        for name, item in value.items():
            _inner(key, name, "a key")
            _inner(shape, item, name)

    return check


def record(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """Return the shape of objects with all of the required keys, and no other than the optional ones beside them."""
    every = {**required, **(optional or {})}
    names = frozenset(required)

    def check(value: Any) -> None:
        if not is_object(value):
            raise Malformed(f" is {shown(value)}, not an object")
        for name, item in value.items():
            shape = every.get(name)
            if shape is None:
                raise Malformed(f" has {name_shown(name)}, which is not known there")
            _inner(shape, item, name)
        if missing := names - value.keys():
            raise Malformed(f" has no {min(missing)}")

    return check


def pair(first: Shape, second: Shape) -> Shape:
    """Return the shape of lists of two values."""

    def check(value: Any) -> None:
        if not is_list(value) or len(value) != 2:
            raise Malformed(f" is {shown(value)}, not a list of two")
        _inner(first, value[0], "0")
        _inner(second, value[1], "1")

    return check


def check_document(shape: Shape, value: Any, called: str) -> None:
    """Check a document against its shape. Raises `Malformed`, which begins with `called`, its name."""
    try:
        shape(value)
    except Malformed as error:
        raise Malformed(f"{called}{error}") from None


def _inner(shape: Shape, value: Any, name: str) -> None:
    try:
        shape(value)
    except Malformed as error:
        raise Malformed(f".{name_shown(name)}{error}") from None
