"""A safetensors file read as what it is, a header of JSON and numbers after it: no pickle, no torch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from faults import BadInput

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
LONGEST_HEADER = 100_000_000  # bytes, the format's own bound


def read_header(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return where the numbers begin and tensor → {dtype, shape, data_offsets}, of a sound safetensors file."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, LONGEST_HEADER):
                raise ValueError("its header does not fit in the file")
            header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
        header.pop("__metadata__", None)
        end = 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, stop = entry["data_offsets"]
            if entry["dtype"] not in DTYPES:
                raise ValueError(f"tensor {name} has dtype {entry['dtype']}; expected one of {', '.join(DTYPES)}")
            if begin != end or stop - begin != math.prod(entry["shape"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize:
                raise ValueError(f"tensor {name} does not lie where its header says")
            end = stop
        if end != size - 8 - length:
            raise ValueError(f"{size - 8 - length} bytes of numbers where the header says {end}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = error if isinstance(error, ValueError | OSError) else "its header is not a safetensors header"
        raise BadInput(f"{path}: not a whole safetensors file ({reason}): export the adapter again") from None
    return 8 + length, header


def greatest_weight(path: Path, entry: Mapping[str, Any], offset: int) -> float:
    """Return the greatest size of a weight; NaN if any is NaN. bfloat16 is the upper half of float32."""
    kind = DTYPES[entry["dtype"]]
    begin = offset + entry["data_offsets"][0]
    numbers = np.fromfile(path, kind, count=math.prod(entry["shape"]), offset=begin)
    if entry["dtype"] == "BF16":
        numbers = (numbers.astype("<u4") << 16).view("<f4")
    return float(np.abs(numbers.astype(np.float32)).max())


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("its header names a tensor twice")
    return dict(pairs)
