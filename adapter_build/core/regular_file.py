"""Regular files of foreign origin, opened so that they can neither block nor mislead their reader.

A FIFO blocks, a device acts when it is read, a link leads elsewhere, and the path that `stat` judged may name another
file by the time it is opened. So files are opened without blocking, and kind and size are asked of the open file.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from adapter_build.core.faults import BadInput, guard

JSON = 2**27  # bytes of the largest file that is read whole: a tokenizer.json of 256,000 words has 34 million
MEND = "put the file itself there"
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a link",
}
# Git LFS pointers: the three lines that a clone without git-lfs has in place of a large file.
POINTERS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
LONGEST_POINTER = max(len(pointer) for pointer in POINTERS)


class NotRegular(BadInput, OSError):
    """A file of another kind or size: bad input to a user, an `OSError` to a reader that copes with those."""

    def __init__(self, path: Path, reason: str, mend: str) -> None:
        super().__init__(f"{path}: {reason}: {mend}")
        self.filename, self.strerror = str(path), reason

    def __str__(self) -> str:
        """Return the whole line, as `BadInput` does."""
        return str(self.args[0])


def open_regular(
    path: str | Path,
    *,
    most: int | None = None,
    links: bool = False,
    below: Path | None = None,
    mend: str = MEND,
) -> BufferedReader:
    """Open a regular file of at most `most` bytes for reading.

    `links`: follow them, for a path that the user named or a folder of links by design. `below`: a folder; none between
    it and the file may be a link either. Raises `NotRegular`, which names file and kind, and `OSError` for a file that
    is missing or not to be read.
    """
    path = Path(path)
    try:
        handle = _opened(path, READ if links else READ | os.O_NOFOLLOW, below)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            _refuse(path, (path.lstat() if error.errno == errno.ELOOP or not links else path.stat()).st_mode, mend)
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            _refuse(path, found.st_mode, mend)
        if most is not None and found.st_size > most:
            raise NotRegular(path, _too_large(found.st_size, most), mend)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: str | Path, most: int = JSON, **how: object) -> bytes:
    """Return the bytes of a regular file. Raises as `open_regular` does, whose options `how` are."""
    with open_regular(path, most=most, **how) as file:  # type: ignore[arg-type]
        content = file.read(most + 1)
    if len(content) > most:  # it grew
        raise NotRegular(Path(path), _too_large(len(content), most), str(how.get("mend", MEND)))
    return content


def read_regular_text(path: str | Path, most: int = JSON, **how: object) -> str:
    """Return the text of a regular file, which is UTF-8. Raises as `read_regular` does, and `UnicodeDecodeError`."""
    return read_regular(path, most, **how).decode("utf-8")


@guard
def refuse_pointer(path: Path) -> None:
    """Raise `BadInput` if a file is a Git LFS pointer. A file that cannot be read is left to its own reader."""
    try:
        with open_regular(path, links=True) as file:
            head = file.read(LONGEST_POINTER)
    except OSError:
        return
    refuse_pointer_in(head, path)


@guard
def refuse_pointer_in(content: bytes, path: Path) -> None:
    """Raise `BadInput` if these bytes of a file are a Git LFS pointer's."""
    if content.startswith(POINTERS):
        raise BadInput(f"{path}: is a Git LFS pointer: git lfs pull, in the clone that it came from")


def _opened(path: Path, flags: int, below: Path | None) -> int:
    if below is None:
        return os.open(path, flags)
    *parents, name = path.relative_to(below).parts
    if ".." in parents:
        raise NotRegular(path, f"leads out of {below}", MEND)
    folder = os.open(below, FOLDER)
    try:
        for number, parent in enumerate(parents, 1):
            try:
                inner = os.open(parent, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            except OSError:
                if (link := below.joinpath(*parents[:number])).is_symlink():
                    raise NotRegular(path, f"{link} is a link, not a directory", MEND) from None
                raise
            os.close(folder)
            folder = inner
        return os.open(name, flags, dir_fd=folder)
    finally:
        os.close(folder)


def _refuse(path: Path, mode: int, mend: str) -> None:
    if kind := KINDS.get(stat.S_IFMT(mode)):
        raise NotRegular(path, f"is {kind}, not a regular file", mend) from None


def _too_large(size: int, most: int) -> str:
    return f"has {size:,} bytes, more than the {most:,} that are read"
