"""Git LFS pointers: the three lines that a clone without git-lfs has in place of a large file."""

from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import open_regular

POINTERS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
LONGEST = max(map(len, POINTERS))


def refuse_pointer(path: Path) -> None:
    """Raise `BadInput` if a file is a Git LFS pointer. A file that cannot be read is left to its own reader."""
    try:
        with open_regular(path, links=True) as file:
            head = file.read(LONGEST)
    except OSError:
        return
    refuse_pointer_in(head, path)


def refuse_pointer_in(content: bytes, path: Path) -> None:
    """Raise `BadInput` if these bytes of a file are a Git LFS pointer's."""
    if content.startswith(POINTERS):
        raise BadInput(f"{path}: is a Git LFS pointer: git lfs pull, in the clone that it came from")
