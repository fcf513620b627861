"""One build at a time in one checkout, without a lock that outlives a killed build."""

import fcntl
import os
import socket
import sys
from pathlib import Path
from typing import IO

LOCK = Path(".snakemake/build.lock")
_held: list[IO[str]] = []


def hold() -> None:
    """Take the lock until this process ends, however it ends. If another build holds it, say so and exit."""
    LOCK.parent.mkdir(exist_ok=True)
    lock = open(LOCK, "a+")  # noqa: SIM115 - held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        print(f"error: another build is running here (pid {lock.read().strip()}): wait or end it", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"  {LOCK}: no locks on this file system ({error.strerror}): one build at a time", file=sys.stderr)
    lock.truncate(0)
    lock.write(f"{os.getpid()} on {socket.gethostname()}")
    lock.flush()
    _held.append(lock)
