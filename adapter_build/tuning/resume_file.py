"""The one file that a run leaves to the next, should it be killed: whole, or as it was before, and damage is seen."""

import hashlib
import os
import tempfile
from pathlib import Path

NAME = "state"
PART = ".part-"


def write_state(folder: Path, content: bytes | memoryview) -> None:
    """Put the content in place of what is there, which stays as it is should this fail. Raises `OSError`."""
    handle, name = tempfile.mkstemp(prefix=PART, dir=folder)
    try:
        with open(handle, "wb") as part:
            part.write(hashlib.sha256(content).digest())
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
        Path(name).replace(folder / NAME)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def read_state(folder: Path) -> bytes | None:
    """Return what is there, or None: nothing, or what is not as it was written, and one line says so."""
    path = folder / NAME
    for part in folder.glob(f"{PART}*"):  # of a run that was killed while it wrote
        part.unlink(missing_ok=True)
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        print(f"{path}: {error.strerror}: not resumed, it begins anew", flush=True)
        return None
    digest = hashlib.sha256()
    content = memoryview(whole)[digest.digest_size :]
    digest.update(content)
    if digest.digest() != whole[: digest.digest_size]:
        print(f"{path}: damaged, not what was saved: not resumed, it begins anew", flush=True)
        return None
    return bytes(content)
