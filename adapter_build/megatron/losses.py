"""The losses of a run of megatron_gpt_finetuning.py, from the TensorBoard file that NeMo's exp_manager leaves.

Steps are counted as the file counts them. Training losses come every 10 steps (trainer.log_every_n_steps).

The file is length-framed protobuf, read here without TensorBoard, which no environment of this project has. Three of
its messages matter, by tensorflow/core/util/event.proto and framework/summary.proto:
Event {2: step, 5: summary}, Summary {1: values}, Value {1: tag, 2: simple_value}. Everything else is skipped,
checksums too.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput

STEP, SUMMARY, VALUE, TAG, NUMBER = 2, 5, 1, 1, 2  # field numbers
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of a field
NAMES = {"reduced_train_loss": "train_loss", "validation_loss": "validation_loss", "lr": "learning_rate"}


def read_losses(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl in the order of their steps. Raises `BadInput` without a whole file."""
    files = sorted(folder.rglob("events.out.tfevents.*"))
    if not files:
        raise BadInput(f"{folder}: the run left no TensorBoard file to read its losses from: see its log")
    rows: dict[int, dict[str, Any]] = {}
    for file in files:
        try:
            for step, tag, value in scalars(file):
                if name := NAMES.get(tag):
                    rows.setdefault(step, {"step": step})[name] = value
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            raise BadInput(f"{file.name}: not a whole TensorBoard file ({error}): see the run's log") from None
    found = [rows[step] for step in sorted(rows)]
    if not any("validation_loss" in row for row in found):
        raise BadInput(f"{folder}: the run logged no validation_loss: it ended before its first validation")
    for row in found:
        for name in ("train_loss", "validation_loss"):
            if not math.isfinite(row.get(name, 0.0)):
                raise BadInput(f"step {row['step']}: the {name} is {row[name]}: lower adapters.<name>.learning_rate")
    return found


def scalars(path: Path) -> Iterator[tuple[int, str, float]]:
    """Yield step, tag and value of an event file's scalars, in its order. Raises `ValueError` if it is not whole."""
    for record in _records(path.read_bytes()):
        event = list(_fields(record))
        step = next((value for field, value in event if field == STEP), 0)
        for summary in (value for field, value in event if field == SUMMARY):
            for value in (value for field, value in _fields(summary) if field == VALUE):
                found = dict(_fields(value))
                if TAG in found and NUMBER in found:
                    yield step, found[TAG].decode(), struct.unpack("<f", found[NUMBER])[0]


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the records, each framed as length (8 bytes), its checksum (4), the record, its checksum (4)."""
    at = 0
    while at < len(content):
        length = int.from_bytes(_taken(content, at, 8), "little")
        yield _taken(content, at + 12, length)
        _taken(content, at + 12 + length, 4)
        at += length + 16


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of every field of a message: an int for a varint, else bytes."""
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
