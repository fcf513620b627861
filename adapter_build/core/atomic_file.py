"""Files that appear whole or not at all, whoever else writes them, on whichever machine."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import open_regular


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to, and rename it into place at the end; after an error neither is left.

    A file that `path` was before stays until then. For one writer at a time, which a step is.
    """
    part = Path(f"{path}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write `text` under a name that no other writer has, and rename it into place. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix=f".{path.name}.", dir=path.parent, delete=False
    ) as part:
        try:
            part.write(text)
            part.flush()
            Path(part.name).chmod(0o644)
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


def copy_whole(pairs: dict[Path, Path]) -> None:
    """Copy every file beside its target, then rename all: a failing copy leaves nothing at the target."""
    parts = {target: target.with_name(f"{target.name}.part") for target in pairs.values()}
    try:
        for source, target in pairs.items():
            with open_regular(source, links=True) as file, open(parts[target], "wb") as part:
                shutil.copyfileobj(file, part)
        for target, part in parts.items():
            part.replace(target)
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"{error.filename}: {error.strerror}") from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
