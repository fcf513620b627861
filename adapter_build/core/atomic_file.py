"""Atomic files: written under a temporary name beside their own, then renamed, so that no reader finds half of one."""

import contextlib
import shutil
import uuid
from collections.abc import Generator
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import open_regular

PART = ".part-"  # begins every temporary name; a file so named was left by a writer that was killed


@contextlib.contextmanager
def temporary_beside(path: str | Path) -> Generator[Path]:
    """Yield a name in the folder of `path` that no other writer has, on any machine; remove what is left under it."""
    part = Path(path).with_name(f"{PART}{uuid.uuid4().hex}")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: str | Path) -> Generator[Path]:
    """Yield a temporary name to write to, and rename it to `path` at the end.

    After an error `path` is as it was before, and no temporary file is left.
    """
    with temporary_beside(path) as part:
        yield part
        part.replace(path)


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to a file that all may read, and make its folder. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.chmod(0o644)


def copy_atomically(pairs: dict[Path, Path]) -> None:
    """Copy every file (source → target), then rename all: an error while copying leaves every target as it was.

    Raises `BadInput` for a source that is no regular file, or where the system refuses.
    """
    with contextlib.ExitStack() as temporary:
        try:
            parts = {target: temporary.enter_context(temporary_beside(target)) for target in pairs.values()}
            for source, target in pairs.items():
                with open_regular(source, links=True) as file, open(parts[target], "wb") as part:
                    shutil.copyfileobj(file, part)
            for target, part in parts.items():
                part.replace(target)
        except BadInput:
            raise
        except OSError as error:
            raise BadInput(f"{error.filename}: {error.strerror}") from None
