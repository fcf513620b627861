"""State file of a run, for the next run should this one be killed: replaced whole, with its digest against damage."""

import hashlib
import os
from pathlib import Path

from adapter_build.core.atomic_file import PART, replacing

NAME = "state"


def write_state(folder: Path, content: bytes | memoryview) -> None:
    """Replace the state file with the content; on failure the old file stays as it is. Raises `OSError`."""
    with replacing(folder / NAME) as part, open(part, "wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def read_state(folder: Path) -> bytes | None:
    """Return the saved content, or None: there is none, or it cannot be read or is damaged, as a line then says."""
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
