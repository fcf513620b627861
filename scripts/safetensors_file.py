"""A safetensors file read as what it is, a header of JSON and numbers after it: no pickle, no torch."""

import json
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from faults import BadInput
from git_lfs import refuse_pointer
from hermetic.regular_file import open_regular

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# Every type of the format: bits of a number.
BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
LONGEST_HEADER = 100_000_000  # bytes, the format's own bound


def read_header(
    path: Path,
    mend: str = "export the adapter again",
    types: Collection[str] = DTYPES.keys(),
    longest: int = LONGEST_HEADER,
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return where the numbers begin and tensor → {dtype, shape, data_offsets}, of a sound file with these types.

    Its header has `longest` bytes at the most: what is read as JSON takes many times as much memory.

    Raises `BadInput` naming the file, what is wrong and the `mend`.
    """
    refuse_pointer(path)
    try:
        with open_regular(path, links=True, mend=mend) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, longest):
                raise ValueError("its header does not fit in the file")
            header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
        header.pop("__metadata__", None)
        end = 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, stop = entry["data_offsets"]
            if entry["dtype"] not in types:
                raise ValueError(f"tensor {name} has dtype {entry['dtype']}; expected one of {', '.join(types)}")
            if not all(type(size) is int and size >= 0 for size in entry["shape"]):
                raise ValueError(f"tensor {name} has shape {entry['shape']}")
            if begin != end or 8 * (stop - begin) != math.prod(entry["shape"]) * BITS[entry["dtype"]]:
                raise ValueError(f"tensor {name} does not lie where its header says")
            end = stop
        if end != size - 8 - length:
            raise ValueError(f"{size - 8 - length} bytes of numbers where the header says {end}")
    except BadInput:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = error if isinstance(error, ValueError | OSError) else "its header is not a safetensors header"
        raise BadInput(f"{path}: not a whole safetensors file ({reason}): {mend}") from None
    return 8 + length, header


def read_tensor(path: Path, entry: Mapping[str, Any], offset: int) -> np.ndarray:
    """Return a tensor's numbers as float32."""
    begin, stop = entry["data_offsets"]
    with open_regular(path, links=True) as file:
        file.seek(offset + begin)
        return as_float32(file.read(stop - begin), entry["dtype"]).reshape(entry["shape"])


def as_float32(content: bytes, dtype: str) -> np.ndarray:
    """Return numbers of a type of DTYPES as float32. bfloat16 is its upper half."""
    numbers = np.frombuffer(content, DTYPES[dtype])
    if dtype == "BF16":
        return (numbers.astype("<u4") << 16).view("<f4")
    return numbers.astype(np.float32, copy=False)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("its header names a tensor twice")
    return dict(pairs)
