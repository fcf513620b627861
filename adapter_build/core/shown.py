"""A foreign value in a message: quoted, its control characters escaped, and cut where it is long."""

from typing import Any

LONGEST = 80


def shown(value: Any) -> str:
    """Return a value for a message."""
    text = repr(value[: LONGEST + 1] if isinstance(value, str) else value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def name_shown(name: str) -> str:
    """Return a name for a message, as it is where it is plain."""
    return name if name.isprintable() and len(name) <= 2 * LONGEST and name else shown(name)
