"""One build at a time in a checkout: its lock, and the end of Slurm jobs that a killed build left.

The lock is an flock, so that none outlives a killed build.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

LOCK = Path(".snakemake/build.lock")
SECONDS_TO_END = 60
ALIVE = "pending,running,suspended,configuring,completing,requeued"  # states of Slurm's jobs
_locks: list[IO[str]] = []  # open, and so held, until this process ends


def take_build_lock() -> None:
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
    _locks.append(lock)


def end_leftover_jobs() -> None:
    """Cancel this user's Slurm jobs of Snakemake in this folder, and wait until they have ended.

    Call it with the build lock held: then no living build owns them, and they would work on the next one's outputs. A
    job on a node that no longer answers may outlive this call; it publishes nothing (hermetic/attempt.py).
    """
    if not shutil.which("squeue") or not (jobs := _jobs()):
        return
    print(f"  scancel {' '.join(jobs)}: jobs of a build here that was killed", file=sys.stderr)
    _slurm(["scancel", *jobs])
    deadline = time.monotonic() + SECONDS_TO_END
    while _jobs() and time.monotonic() < deadline:
        time.sleep(0.5)


def _jobs() -> list[str]:
    """Return the ids of jobs that work in this folder and are named by a rule, except the one that this may run in."""
    rows = [line.split("|", 2) for line in _slurm(["squeue", "--me", "-h", "-t", ALIVE, "-o", "%i|%k|%Z"]).splitlines()]
    here = Path.cwd().resolve()
    return [
        number
        for number, comment, folder in rows
        if comment.startswith("rule_") and number != os.environ.get("SLURM_JOB_ID") and Path(folder).resolve() == here
    ]


def _slurm(command: Sequence[str]) -> str:
    """Return the output of a Slurm command; an empty string where its controller does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
