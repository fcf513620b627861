"""One build at a time in one checkout, without a lock that outlives a killed build."""

import fcntl
import os
from pathlib import Path
from typing import IO

from faults import BadInput

LOCK = Path(".snakemake/build.lock")
_held: list[IO[str]] = []


def hold() -> None:
    """Take the lock until this process ends, however it ends. Raises `BadInput` if another build holds it."""
    LOCK.parent.mkdir(exist_ok=True)
    lock = open(LOCK, "a+")  # noqa: SIM115 - held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise BadInput(f"another build is running here (pid {lock.read().strip()}): wait for it or end it") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    _held.append(lock)
