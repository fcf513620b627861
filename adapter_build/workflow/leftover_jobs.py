"""Slurm jobs that a build here left behind when it was killed: they would work on the outputs of the next one."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SECONDS_TO_END = 60
ALIVE = "pending,running,suspended,configuring,completing,requeued"


def end_leftover_jobs() -> None:
    """Cancel this user's jobs of Snakemake in this folder, and wait until they are gone. Call it with the build's lock
    held: no build is alive that they could belong to. What is left of one on a node that no longer answers does no
    harm (hermetic/attempt.py).
    """
    if not shutil.which("squeue") or not (jobs := _jobs()):
        return
    print(f"  scancel {' '.join(jobs)}: jobs of a build here that was killed", file=sys.stderr)
    _ask(["scancel", *jobs])
    deadline = time.monotonic() + SECONDS_TO_END
    while _jobs() and time.monotonic() < deadline:
        time.sleep(0.5)


def _jobs() -> list[str]:
    """Return the ids of jobs that work in this folder and are named by a rule, but for the one that this may run in."""
    rows = [line.split("|", 2) for line in _ask(["squeue", "--me", "-h", "-t", ALIVE, "-o", "%i|%k|%Z"]).splitlines()]
    here = Path.cwd().resolve()
    return [
        number
        for number, comment, folder in rows
        if comment.startswith("rule_") and number != os.environ.get("SLURM_JOB_ID") and Path(folder).resolve() == here
    ]


def _ask(command: Sequence[str]) -> str:
    """Return what a command of Slurm's prints; nothing where its controller does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
