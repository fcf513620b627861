"""The scalars of a TensorBoard event file, read as what it is: length-framed protobuf, of which three messages matter.

Event {2: step, 5: summary}, Summary {1: values}, Value {1: tag, 2: simple_value}: tensorflow/core/util/event.proto and
framework/summary.proto. Everything else is passed over, checksums too.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEP, SUMMARY, VALUE, TAG, NUMBER = 2, 5, 1, 1, 2  # numbers of the fields
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of a field on the wire


def scalars(path: Path) -> Iterator[tuple[int, str, float]]:
    """Yield step, tag and value in the file's order. Raises `ValueError` for a file that is none, or was cut off."""
    for record in _records(path.read_bytes()):
        event = list(_fields(record))
        step = next((value for field, value in event if field == STEP), 0)
        for summary in (value for field, value in event if field == SUMMARY):
            for value in (value for field, value in _fields(summary) if field == VALUE):
                found = dict(_fields(value))
                if TAG in found and NUMBER in found:
                    yield step, found[TAG].decode(), struct.unpack("<f", found[NUMBER])[0]


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the records: each stands after its length and a checksum of that, and before a checksum of its own."""
    at = 0
    while at < len(content):
        length = int.from_bytes(_taken(content, at, 8), "little")
        yield _taken(content, at + 12, length)
        _taken(content, at + 12 + length, 4)
        at += length + 16


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of every field: an int of a varint, else the bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == BYTES:
            size, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        yield key >> 3, _taken(message, at, size)
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = _taken(message, at, 1)[0]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _taken(content: bytes, at: int, size: int) -> bytes:
    if at + size > len(content):
        raise ValueError(f"it ends after {len(content)} bytes, in the middle of a record")
    return content[at : at + size]
