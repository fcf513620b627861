"""JSON values read one at a time from a file of any size: an array or JSON Lines, plain or packed (xz, gzip, bzip2)."""

import bz2
import gzip
import io
import itertools
import json
import lzma
import re
import shlex
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import open_regular
from adapter_build.records.file_formats import HEAD, name_bytes, name_text

CHUNK = 1 << 20  # characters read at a time
LONGEST = 4300  # digits of an integer that Python reads; a longer one is larger than any double
LARGEST_EXACT = 2.0**53  # a double beyond it need not be the integer that was written
BLANK = re.compile(r"[ \t\r\n]*")
WORD = re.compile(r"[\w.+-]*")
# Ending, first bytes, and the function that opens it. The bytes decide: a file's name may be anything.
PACKED: list[tuple[str, bytes, Callable[[Path], Any]]] = [
    (".xz", b"\xfd7zXZ\0", lzma.open),
    (".gz", b"\x1f\x8b", gzip.open),
    (".bz2", b"BZh", bz2.open),
]


def read_values(path: Path) -> Iterator[Any]:
    """Yield the elements of the JSON array in `path`, or its values one after another if it is JSON Lines.

    Packed files are unpacked on the way. Numbers that JSON does not have (NaN) are yielded unchanged, and a line of
    JSON Lines that is not JSON as `Broken`. Raises `BadInput` with line and column of a fault, or with the format that
    the file has instead.
    """
    stream = _Stream(path, _chunks(path))
    if not stream.peek():
        raise BadInput(f"{path}: is empty: expected a JSON array of records, or one record per line")
    if other := name_text(stream.head(), path):
        raise BadInput(f"{path}: {other}")
    if stream.peek() != "[":
        while stream.peek():
            yield stream.line()
        return
    stream.step()
    following = stream.peek()
    while following != "]":
        yield stream.value()
        following = stream.peek()
        if following == ",":
            stream.step()
        elif not following:
            raise stream.fault("the file ends inside the array: it was cut off")
        elif following != "]":
            raise stream.fault("expected ',' or ']' after the record")
    stream.step()
    if stream.peek():
        raise stream.fault("text after the end of the array")


@dataclass(frozen=True)
class Broken:
    """A line of JSON Lines that is not JSON."""

    what: str


class _Stream:
    """Window over a text, which grows only while one value needs more, and knows its place in the file."""

    def __init__(self, path: Path, chunks: Iterator[str]) -> None:
        self._path, self._chunks = path, chunks
        self._text, self._at = "", 0
        self._line, self._column = 1, 1  # of the window's first character
        self._decoder = json.JSONDecoder(parse_float=_number, parse_int=_integer)

    def head(self) -> str:
        """Return the text's beginning, from the next character on."""
        while len(self._text) - self._at < HEAD and self._grow(1):
            pass
        return self._text[self._at : self._at + HEAD]

    def peek(self) -> str:
        """Return the next character that is not blank, without taking it; '' at the end."""
        while True:
            self._at = BLANK.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow(1):
                return ""

    def step(self) -> None:
        """Take the character that `peek` showed."""
        self._at += 1

    def value(self) -> Any:
        """Take one JSON value. Raises `BadInput` with its line and column."""
        self.peek()
        chunks = 1
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # The value may only be longer than the window; doubling keeps all retries linear in the file's size.
                if self._grow(chunks):
                    chunks *= 2
                    continue
                raise self.fault(error.msg, error.pos) from None
            except (RecursionError, ValueError) as error:
                raise self.fault(f"{error}, in the value that begins here") from None
            # A number, or a word, at the window's edge may go on behind it.
            if WORD.match(self._text, end).end() == len(self._text) and self._grow(1):  # type: ignore[union-attr]
                continue
            self._at = end
            return found

    def line(self) -> Any:
        """Take the value that a line holds: `Broken` if it is not JSON and the next line begins a record as it does."""
        self.peek()
        while (end := self._text.find("\n", self._at)) < 0 and self._grow(1):
            pass
        line = self._text[self._at : end]
        if end < 0 or line[0] != "{":
            return self.value()
        try:
            found, stop = self._decoder.raw_decode(line)
        except json.JSONDecodeError as error:
            if not self._begins_record(len(line)):
                return self.value()
            broken = Broken(self._where(self._at + error.pos, error.msg))
            self._at += len(line)
            return broken
        except (RecursionError, ValueError):
            return self.value()
        if line[stop:].strip():
            return self.value()
        self._at += len(line)
        return found

    def _begins_record(self, length: int) -> bool:
        """Tell if an object follows the next `length` characters and the blanks after them."""
        while (place := BLANK.match(self._text, self._at + length).end()) == len(self._text):  # type: ignore[union-attr]
            if not self._grow(1):
                return False
        return self._text[place] == "{"

    def fault(self, what: str, at: int | None = None) -> BadInput:
        """Return a complaint about the character at `at`, by default the next one."""
        return BadInput(f"{self._path}: {self._where(self._at if at is None else at, what)}")

    def _where(self, at: int, what: str) -> str:
        line, column = self._place(at)
        return f"line {line}, column {column}: not JSON ({what})"

    def _place(self, at: int) -> tuple[int, int]:
        breaks = self._text.count("\n", 0, at)
        if not breaks:
            return self._line, self._column + at
        return self._line + breaks, at - self._text.rfind("\n", 0, at)

    def _grow(self, chunks: int) -> bool:
        more = list(itertools.islice(self._chunks, chunks))
        if not more:
            return False
        self._line, self._column = self._place(self._at)
        self._text, self._at = self._text[self._at :] + "".join(more), 0
        return True


def _integer(text: str) -> int | float:
    return int(text) if len(text) < LONGEST else float(text)


def _number(text: str) -> int | float:
    number = float(text)
    # 3.0 and 3 are one number in JSON: one spelling, so that a rewritten file changes nothing downstream.
    if not number.is_integer():
        return number
    if abs(number) < LARGEST_EXACT:
        return int(number)
    numerator, denominator = Decimal(text).as_integer_ratio()
    return numerator if denominator == 1 else number


def _chunks(path: Path) -> Iterator[str]:
    kind = ""
    try:
        with open_regular(path, links=True) as data:
            head = data.peek(HEAD)[:HEAD]
            kind, unpack = next(
                ((kind, unpack) for kind, magic, unpack in PACKED if head.startswith(magic)), ("", None)
            )
            if unpack is None:
                yield from _decoded(path, head, data)
                return
        with unpack(path) as unpacked:
            yield from _decoded(path, unpacked.peek(HEAD)[:HEAD], unpacked)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except EOFError:
        raise BadInput(f"{path}: the {kind} file is truncated: fetch or pack it again") from None
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(f"{path}: a damaged {kind} file ({error}): fetch or pack it again") from None
    except OSError as error:
        if kind and error.errno is None:  # bz2 has no error of its own
            raise BadInput(f"{path}: a damaged {kind} file ({error}): fetch or pack it again") from None
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def _decoded(path: Path, head: bytes, data: IO[bytes]) -> Iterator[str]:
    if other := name_bytes(head, path):
        raise BadInput(f"{path}: {other}")
    if any(head.startswith(magic) for _, magic, _ in PACKED):
        raise BadInput(f"{path}: is packed twice: unpack it once")
    try:
        with io.TextIOWrapper(data, encoding="utf-8-sig", newline="") as text:
            while chunk := text.read(CHUNK):
                yield chunk
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: not UTF-8 ({error.reason}, byte {error.object[error.start]:#04x}): convert it; if it is Latin-1 "
            f"or Windows-1252: iconv -f WINDOWS-1252 -t UTF-8 {shlex.quote(str(path))} > raw.json"
        ) from None
