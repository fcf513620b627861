"""A folder that holds given files and no other, for readers that take whatever lies in the folder they are given."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from adapter_build.core.faults import BadInput


def link_files(files: Iterable[Path], folder: Path) -> Path:
    """Make `folder`, of links to the files, and return it. Raises `BadInput` for a file that is missing."""
    folder.mkdir()
    for file in files:
        if not file.is_file():
            raise BadInput(f"{file}: no such file: run `make`")
        (folder / file.name).symlink_to(file.absolute())
    return folder


@contextlib.contextmanager
def linked(files: Iterable[Path]) -> Iterator[Path]:
    """Give such a folder, and remove it in the end."""
    with tempfile.TemporaryDirectory() as scratch:
        yield link_files(files, Path(scratch) / "files")
