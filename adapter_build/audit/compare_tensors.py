"""Differences of two safetensors files, by tensor, with their size. Equal tensors are not copied."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from adapter_build.audit.compare_values import Difference, only_in
from adapter_build.core import strict_json
from adapter_build.models.safetensors_file import DTYPES

CHUNK = 2**24  # numbers of a tensor that are compared at once


def of_tensors(here: memoryview, rebuilt: memoryview) -> Iterator[Difference]:
    """Yield a difference per tensor. Raises `ValueError`, `KeyError` or `TypeError` for what is no safetensors file."""
    before, after = _tensors(here), _tensors(rebuilt)
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            yield only_in(name, name in before)
            continue
        (kind, old), (other, new) = before[name], after[name]
        if kind != other:
            yield Difference(name, f"{kind} → {other}")
        elif old != new:
            yield _numbers(name, kind, old, new)


def _tensors(view: memoryview) -> dict[str, tuple[str, Any]]:
    """Return tensor → its dtype and shape in words, and its bytes; `__metadata__` of the header is an entry too."""
    begin = 8 + int.from_bytes(view[:8], "little")
    header = strict_json.loads(bytes(view[8:begin]))
    metadata = header.pop("__metadata__", None)
    found: dict[str, tuple[str, Any]] = {"__metadata__": (json.dumps(metadata, sort_keys=True), None)}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        found[name] = (f"{entry['dtype']} {entry['shape']}", view[begin + first : begin + last])
    return found


def _numbers(name: str, kind: str, before: memoryview, after: memoryview) -> Difference:
    dtype, shape = kind.split(" ", 1)
    if dtype not in DTYPES:
        return Difference(name, f"bytes of {dtype} differ")
    old, new = (np.frombuffer(view, DTYPES[dtype]) for view in (before, after))
    count, apart, largest, first = 0, 0.0, 0.0, -1
    bits = f"u{old.itemsize}"
    for begin in range(0, old.size, CHUNK):
        some, others = (numbers[begin : begin + CHUNK] for numbers in (old, new))
        left, right, differ = _floats(some, dtype), _floats(others, dtype), some.view(bits) != others.view(bits)
        largest = max(largest, float(np.nanmax(np.abs(left), initial=0)))
        if differ.any():
            first = first if count else begin + int(differ.argmax())
            count += int(differ.sum())
            apart = float(np.maximum(apart, np.abs(left[differ] - right[differ]).max()))  # a NaN stays
    position = list(map(int, np.unravel_index(first, json.loads(shape) or [1])))
    values = " → ".join(f"{_floats(numbers[first : first + 1], dtype)[0]:.6g}" for numbers in (old, new))
    share = apart / largest if largest else math.inf
    what = f"{count:,} of {old.size:,} numbers, by up to {apart:.3g} ({share:.2g} of its largest number)"
    return Difference(name, f"{what}, first at {position}: {values}", share)


def _floats(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Return the numbers as float32; a bfloat16 is the upper half of one."""
    return (numbers.astype("<u4") << 16).view("<f4") if dtype == "BF16" else numbers.astype(np.float32)
