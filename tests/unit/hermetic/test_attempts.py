"""Attempts on a file system that machines share: whose are dead, whose are alive, and who may publish."""

import os
import subprocess
import sys
import time

import pytest

from adapter_build.hermetic import liveness_lock, store
from adapter_build.hermetic.attempt import ATTEMPTS, attempt
from adapter_build.hermetic.liveness_lock import abandoned
from adapter_build.hermetic.store import Store

ELSEWHERE = "node7 5c0b4b5e-0000-0000-0000-000000000000"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def of_another_machine(monkeypatch, silent_for):
    """Make an attempt as a machine does whose flocks are not seen here, and which last gave a sign so long ago."""
    with monkeypatch.context() as there:
        there.setattr(liveness_lock, "machine", lambda: ELSEWHERE)
        made = attempt("try/it")
        place = made.__enter__()
    # What its flock is worth here: nothing.
    place.lock.write_text(place.lock.read_text())
    past = time.time() - silent_for
    os.utime(place.lock, (past, past))
    os.utime(place.out.parent, (past, past))
    return made, place


def test_a_dead_attempt_of_this_machine_is_reaped_at_once():
    dead = "from adapter_build.hermetic.attempt import attempt; import os; a = attempt('a'); a.__enter__(); os._exit(9)"
    subprocess.run([sys.executable, "-c", dead], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    left = [path for path in ATTEMPTS.iterdir() if path.is_dir()]
    assert left
    with attempt("b"):
        assert [path for path in ATTEMPTS.iterdir() if path.is_dir() and path in left] == []
        assert len(list(ATTEMPTS.glob("*.lock"))) == 1


def test_a_live_attempt_of_this_machine_is_not():
    with attempt("a") as live:
        past = time.time() - 10 * liveness_lock.LEASE  # the flock says more than any age
        os.utime(live.lock, (past, past))
        with attempt("b"):
            assert live.out.is_dir() and not abandoned(live.lock)


def test_another_machines_attempt_is_believed_while_its_lease_runs(monkeypatch):
    made, place = of_another_machine(monkeypatch, silent_for=liveness_lock.LEASE - 600)
    with attempt("b"):
        assert place.out.is_dir() and place.lock.is_file()
    made.__exit__(None, None, None)


def test_another_machines_attempt_is_reaped_when_its_lease_is_over(monkeypatch):
    _, place = of_another_machine(monkeypatch, silent_for=liveness_lock.LEASE + 600)
    with attempt("b"):
        assert not place.out.exists() and not place.lock.exists()


def test_a_machine_of_the_same_name_is_told_by_its_boot(monkeypatch, tmp_path):
    first = liveness_lock.machine()
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(liveness_lock, "BOOT", tmp_path / "boot_id")
    assert liveness_lock.machine() != first and liveness_lock.machine().split()[0] == first.split()[0]


def test_a_lock_is_touched_while_its_runner_lives(monkeypatch):
    monkeypatch.setattr(liveness_lock, "HEARTBEAT", 0.01)
    with attempt("a") as live:
        os.utime(live.lock, (0, 0))
        deadline = time.monotonic() + 10
        while not live.lock.stat().st_mtime and time.monotonic() < deadline:
            time.sleep(0.01)
        assert live.lock.stat().st_mtime > 0


def test_a_later_attempt_supersedes_an_earlier_one_even_after_its_end():
    with attempt("a") as zombie:
        assert not zombie.superseded()
        with attempt("a") as later, attempt("b"):
            assert zombie.superseded() and not later.superseded()
        assert zombie.superseded()
    with attempt("a") as alone:
        assert not alone.superseded()
    assert not list(ATTEMPTS.glob("*.owner"))


def test_a_file_system_without_locks(monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(liveness_lock.fcntl, "flock", refuse)
    with attempt("a") as live, attempt("b"):
        assert live.out.is_dir()
        past = time.time() - liveness_lock.LEASE - 600
        os.utime(live.lock, (past, past))
        assert abandoned(live.lock)
    monkeypatch.setattr(store.fcntl, "flock", refuse)
    opened = Store(ATTEMPTS / "store")
    opened.open()
    opened.close()
