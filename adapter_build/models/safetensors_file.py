"""Reader of safetensors files, a header of JSON and the numbers after it, without torch and without pickle."""

import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adapter_build.core import strict_json
from adapter_build.core.faults import BadInput
from adapter_build.core.printable import name_shown, shown
from adapter_build.core.regular_file import NotRegular, open_regular, refuse_pointer
from adapter_build.core.strict_json import Malformed

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# Every type of the format, with the bits of a number.
BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
LONGEST_HEADER = 100_000_000  # bytes, the format's own bound
MOST_DIMENSIONS = 8  # of a tensor; an adapter's has 2


def read_header(
    path: Path,
    mend: str = "export the adapter again",
    types: Collection[str] = DTYPES.keys(),
    longest: int = LONGEST_HEADER,
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the offset of the numbers in bytes, and tensor → {dtype, shape, data_offsets}; `types` are those allowed.

    The header may have `longest` bytes: parsed as JSON it takes many times as much memory.

    Raises `BadInput` naming the file, its fault and the `mend`.
    """
    refuse_pointer(path)
    try:
        with open_regular(path, links=True, mend=mend) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, longest):
                raise Malformed("its header does not fit in the file")
            content = file.read(length)
        header = sound_header(content, size - 8 - length, types)
    except NotRegular:
        raise
    except (OSError, Malformed) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{path}: not a whole safetensors file ({reason}): {mend}") from None
    return 8 + length, header


def read_tensor(path: Path, entry: Mapping[str, Any], offset: int) -> np.ndarray:
    """Return a tensor as float32, in its shape; `offset` is where the file's numbers begin, in bytes."""
    begin, stop = entry["data_offsets"]
    with open_regular(path, links=True) as file:
        file.seek(offset + begin)
        return as_float32(file.read(stop - begin), entry["dtype"]).reshape(entry["shape"])


def as_float32(content: bytes, dtype: str) -> np.ndarray:
    """Return the numbers in `content`, of a type of DTYPES, as (count,) float32. bfloat16 is float32's upper half."""
    numbers = np.frombuffer(content, DTYPES[dtype])
    if dtype == "BF16":
        return (numbers.astype("<u4") << 16).view("<f4")
    return numbers.astype(np.float32, copy=False)


def sound_header(content: bytes, numbers: int, types: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return tensor → {dtype, shape, data_offsets} of a header. Raises `Malformed` unless they fill `numbers` bytes."""
    header = strict_json.loads(content, LONGEST_HEADER)
    if not isinstance(header, dict):
        raise Malformed(f"its header is no object, but {type(header).__name__}")
    notes = header.pop("__metadata__", None) or {}
    if not isinstance(notes, dict) or not all(type(note) is str for note in notes.values()):
        raise Malformed("its __metadata__ is not of texts")
    for name, entry in header.items():
        _check_entry(name_shown(name), entry, types)
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        if begin != end or 8 * (stop - begin) != math.prod(entry["shape"]) * BITS[entry["dtype"]]:
            raise Malformed(f"tensor {name_shown(name)} does not lie where its header says")
        end = stop
    if end != numbers:
        raise Malformed(f"{numbers} bytes of numbers where the header says {end}")
    return header


def _check_entry(name: str, entry: Any, types: Collection[str]) -> None:
    """Raise `Malformed` for an entry of another form, or with a number that no file has."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"tensor {name} has not dtype, shape and data_offsets alone")
    if type(entry["dtype"]) is not str or entry["dtype"] not in types:
        raise Malformed(
            f"tensor {name} has dtype {name_shown(str(entry['dtype']))}; expected one of {', '.join(types)}"
        )
    for key, most in (("shape", MOST_DIMENSIONS), ("data_offsets", 2)):
        found = entry[key]
        sizes = isinstance(found, list) and all(type(size) is int and 0 <= size < 2**63 for size in found)
        if not sizes or len(found) > most or (key == "data_offsets" and len(found) != most):
            raise Malformed(f"tensor {name} has {key} {shown(found)}")
