"""Foreign text in a message, a log or a suggested command: escaped, cut and quoted, so that it steers no terminal."""

import io
import re
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import Any, TextIO, cast

# Control characters, line separators, bidirectional controls, characters of no width, and lone surrogates.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
LONGEST_SHOWN = 80  # characters


def printable(text: str, kept: str = "") -> str:
    """Return the text with every character that a terminal would obey, or not show, written as its escape.

    Letters of any script, marks, emoji with their joiners stay. `kept` are characters to let through, as a newline.
    """
    return UNSAFE.sub(lambda found: found[0] if found[0] in kept else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    """Return a character as Python writes it."""
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def shown(value: Any) -> str:
    """Return a foreign value for a message: quoted, its control characters escaped, and cut where it is long."""
    text = repr(value[: LONGEST_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def name_shown(name: str) -> str:
    """Return a foreign name for a message: as it is where it is plain, else as `shown` does."""
    return name if name.isprintable() and len(name) <= 2 * LONGEST_SHOWN and name else shown(name)


def removal(name: str | Path, then: str = ", then make") -> str:
    """Return the suggestion `rm NAME`, quoted, and what comes `then`.

    No command is given for a name that hides something or leads upwards: attestations and folders of others give names
    too.
    """
    text = str(name)
    if printable(text) != text or ".." in PurePosixPath(text).parts or text.startswith(("-", "~")):
        return f"remove that file by hand{then}"
    return f"rm {quote(text)}{then}"


class _Safe(io.TextIOWrapper):
    """A stream that writes text as `printable` does."""

    def write(self, text: str) -> int:
        super().write(printable(text, kept="\n\t"))
        return len(text)

    def __del__(self) -> None:
        """Leave the file open: it belongs to the wrapped stream."""


def safe(stream: TextIO) -> TextIO:
    """Return a stream that writes to the same file as `printable` does; a stream without a file is returned itself."""
    if isinstance(stream, _Safe) or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return _Safe(
        cast(io.TextIOWrapper, stream).buffer, encoding=stream.encoding, errors="backslashreplace",
        line_buffering=stream.line_buffering, write_through=stream.write_through,
    )  # fmt: skip
