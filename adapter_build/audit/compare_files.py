"""Differences of two files: by tensor, record, cell or member of an archive, else by line or byte.

The ending of the name chooses the comparison. A file that cannot be read as its ending says, or that has the same
content in another encoding, is compared as text or as bytes.
"""

import io
import mmap
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from adapter_build.audit.compare_tensors import of_tensors
from adapter_build.audit.compare_values import (
    Difference,
    in_words,
    of_json,
    of_order,
    of_parquet,
    of_records,
    of_values,
    only_in,
    shared,
)
from adapter_build.core.regular_file import open_regular

CHUNK = 2**20
Members = dict[str, tuple[dict[str, str], Callable[[], memoryview]]]  # name → metadata, content
UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, OverflowError, RecursionError,
    struct.error, tarfile.TarError, zipfile.BadZipFile, pa.ArrowException, NotImplementedError,
)  # fmt: skip


def file_differences(here: Path, rebuilt: Path) -> list[Difference]:
    """Return every difference of two files; none if they have the same bytes."""
    return differences(_content(here), _content(rebuilt), here.name)


def differences(here: memoryview, rebuilt: memoryview, name: str) -> list[Difference]:
    """Return every difference of two contents; the ending of `name` chooses the comparison."""
    if _first_byte(here, rebuilt) is None:
        return []
    kind = KINDS.get(Path(name).suffix)
    try:
        found = list(kind(here, rebuilt)) if kind else []
    except UNREADABLE:  # damaged, or of another format than its name says
        found = []
    return found or [_of_bytes(here, rebuilt)]


def _content(path: Path) -> memoryview:
    if not path.stat().st_size:
        return memoryview(b"")
    with open_regular(path, links=True) as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class _ViewFile(io.RawIOBase):
    """A view of bytes as a file object, without a copy, for readers of archives."""

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view, self._position = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        some = self._view[self._position : self._position + len(buffer)]
        buffer[: len(some)] = some
        self._position += len(some)
        return len(some)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence]
        if start + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position


def _of_tar(here: memoryview, rebuilt: memoryview) -> Iterator[Difference]:
    yield from _of_members(_tar(here), _tar(rebuilt))


def _tar(view: memoryview) -> Members:
    with tarfile.open(fileobj=_ViewFile(view), mode="r:") as archive:
        return {
            entry.name: (
                {"mode": oct(entry.mode), "time": str(entry.mtime), "owner": f"{entry.uid}:{entry.gid}",
                 "names": f"{entry.uname}:{entry.gname}", "kind": repr(entry.type), "link": entry.linkname},
                lambda entry=entry: view[entry.offset_data : entry.offset_data + entry.size],
            )
            for entry in archive
        }  # fmt: skip


def _of_zip(here: memoryview, rebuilt: memoryview) -> Iterator[Difference]:
    with zipfile.ZipFile(_ViewFile(here)) as before, zipfile.ZipFile(_ViewFile(rebuilt)) as after:
        yield from _of_members(_zip(before), _zip(after))


def _zip(archive: zipfile.ZipFile) -> Members:
    return {
        entry.filename: (
            {"mode": oct(entry.external_attr >> 16), "time": str(entry.date_time), "method": str(entry.compress_type)},
            lambda entry=entry: memoryview(archive.read(entry)),
        )
        for entry in archive.infolist()
    }


def _of_members(before: Members, after: Members) -> Iterator[Difference]:
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            yield only_in(name, name in before)
            continue
        (old_metadata, old), (new_metadata, new) = before[name], after[name]
        inside = [*differences(old(), new(), name), *of_values(old_metadata, new_metadata)]
        yield from (Difference(f"{name}: {found.where}", found.what, found.size) for found in inside)
    yield from of_order("members", before, after)


def _of_bytes(here: memoryview, rebuilt: memoryview) -> Difference:
    """Return the first difference of two texts, by line, or of two files of bytes."""
    position = _first_byte(here, rebuilt)
    assert position is not None
    try:
        before, after = (bytes(view).decode() for view in (here, rebuilt))
        if "\0" not in before + after:
            return _of_text(before, after)
    except UnicodeDecodeError:
        pass
    sizes = f", {len(here):,} → {len(rebuilt):,} bytes" if len(here) != len(rebuilt) else ""
    values = " → ".join(f"0x{view[position]:02x}" if position < len(view) else "the end" for view in (here, rebuilt))
    return Difference(f"byte {position:,}", values + sizes)


def _of_text(before: str, after: str) -> Difference:
    old, new = (text.splitlines(keepends=True) for text in (before, after))
    line = shared(old, new)
    return Difference(f"line {line + 1}", in_words("".join(old[line : line + 1]), "".join(new[line : line + 1])))


def _first_byte(here: memoryview, rebuilt: memoryview) -> int | None:
    both = min(len(here), len(rebuilt))
    for begin in range(0, both, CHUNK):
        end = min(begin + CHUNK, both)
        old, new = bytes(here[begin:end]), bytes(rebuilt[begin:end])
        if old != new:
            return begin + shared(old, new)
    return both if len(here) != len(rebuilt) else None


KINDS = {
    ".safetensors": of_tensors, ".jsonl": of_records, ".json": of_json, ".parquet": of_parquet, ".nemo": _of_tar,
    ".tar": _of_tar, ".ckpt": _of_zip, ".zip": _of_zip,
}  # fmt: skip
