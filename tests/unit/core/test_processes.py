"""A child is ended whatever it does, whatever has become of the object that stands for it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapter_build.core.processes import end_group

STUBBORN = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


def started(*program: str | Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, *program], stdout=subprocess.PIPE, start_new_session=True)


@pytest.mark.parametrize("locked", [False, True])
def test_a_child_is_ended_even_where_a_signal_left_its_lock_taken(locked):
    """As between two bytecodes of Popen.wait: with the lock taken, that one would wait for ever."""
    process = started("-c", "import time; time.sleep(60)")
    if locked:
        process._waitpid_lock.acquire()  # pyright: ignore[reportAttributeAccessIssue] - what a signal leaves taken
        assert process.poll() is None
    end_group(process, seconds=5)
    assert process.returncode == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_one_that_takes_no_term_is_killed():
    process = started("-c", STUBBORN)
    process.stdout.readline()
    began = time.monotonic()
    end_group(process, seconds=0.3)
    assert process.returncode == -signal.SIGKILL and time.monotonic() - began < 5


@pytest.mark.parametrize("leader", ["runs", "has ended", "was waited for"])
def test_what_the_child_started_ends_with_it(leader):
    process = started(Path(__file__).with_name("start_a_child.py"))
    grandchild = int(process.stdout.readline())
    if leader != "runs":
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if leader == "was waited for":
        process.wait()
    end_group(process, seconds=5)
    until = time.monotonic() + 5
    while time.monotonic() < until and _lives(grandchild):
        time.sleep(0.02)
    assert not _lives(grandchild)


def _lives(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
