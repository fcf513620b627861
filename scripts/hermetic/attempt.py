"""An attempt: a private folder for one run, whose outputs appear whole or not at all.

results/.attempts/ may lie on a file system that several machines share, where an flock may be known to one of them
alone, and where a job may live on after its machine was given up. So

    STEP-x.lock    names the machine of the runner, which holds an flock on it and touches it while it lives
    STEP-x/        the private folder, made after the lock and removed before it
    STEP.owner     names the latest attempt at a step: an earlier one, should it still be alive, publishes nothing
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from faults import BadInput
from hermetic.machine import age, machine
from hermetic.secrets import secret_files

ATTEMPTS = Path("results/.attempts")
HEARTBEAT = 60.0  # seconds between two touches of a lock
LEASE = 24 * 3600.0  # seconds without one after which another machine's attempt is certainly dead


class Attempt:
    """The private folder: `out` mirrors the declared output paths, `scratch` is the step's TMPDIR.

    `lock` is held as long as the runner lives; `secrets` is the folder of the step's secrets, if it has any. `owner` is
    the file that names the step's latest attempt.
    """

    def __init__(self, root: Path, owner: Path | None = None, secrets: Path | None = None) -> None:
        self.lock = _lock_of(root)
        self.secrets = secrets
        self.out = root / "out"
        self.scratch = root / "scratch"
        self._owner = owner
        self.out.mkdir()
        self.scratch.mkdir()

    def prepare(self, outputs: Iterable[Path]) -> None:
        """Make the folders that the outputs will lie in."""
        for path in outputs:
            (self.out / path).parent.mkdir(parents=True, exist_ok=True)

    def check(self, outputs: Iterable[Path]) -> None:
        """Refuse a run that left out a declared output or wrote one that is not declared."""
        declared = set(outputs)
        for path in declared:
            if (self.out / path).is_symlink() or (self.out / path).is_dir():
                kind = "link" if (self.out / path).is_symlink() else "folder"
                raise BadInput(f"{path}: declared as an output, which is a file, but written as a {kind}")
        made = {path.relative_to(self.out) for path in self.out.rglob("*") if not path.is_dir()}
        if missing := sorted(declared - made):
            raise BadInput(f"{missing[0]}: declared as an output but not written")
        if extra := sorted(made - declared):
            raise BadInput(f"{extra[0]}: written but not declared as an output")

    def superseded(self) -> bool:
        """Whether a later attempt at the same step has begun, or has even ended."""
        try:
            return bool(self._owner) and self._owner.read_text() != self.lock.name
        except FileNotFoundError:
            return True

    def publish(self, outputs: Iterable[Path]) -> None:
        """Rename every output into place."""
        for path in outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.out / path).replace(path)


@contextlib.contextmanager
def attempt(step: str, secrets: Sequence[str] = ()) -> Iterator[Attempt]:
    """Make an attempt's folder, locked while it is in use, and remove it at the end however that comes.

    `secrets` names the variables that the step may see.
    """
    ATTEMPTS.mkdir(parents=True, exist_ok=True)
    _reap()
    name = step.replace("/", ".")
    with contextlib.ExitStack() as cleanup:
        handle, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".lock", dir=ATTEMPTS.absolute())
        lock = cleanup.enter_context(open(handle, "w"))
        cleanup.callback(Path(path).unlink, missing_ok=True)
        with contextlib.suppress(OSError):  # a file system without locks: there the heartbeat alone tells
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{machine()} {os.getpid()}\n")
        lock.flush()
        cleanup.enter_context(_heartbeat(lock))
        root = Path(path.removesuffix(".lock"))
        root.mkdir(mode=0o700)
        cleanup.callback(shutil.rmtree, root, ignore_errors=True)
        owner = ATTEMPTS.absolute() / f"{name}.owner"
        (root / "owner").write_text(Path(path).name)
        (root / "owner").replace(owner)
        made = Attempt(root, owner, cleanup.enter_context(secret_files(secrets)))
        cleanup.callback(lambda: made.superseded() or owner.unlink(missing_ok=True))
        yield made


@contextlib.contextmanager
def _heartbeat(lock: IO[str]) -> Iterator[None]:
    """Touch the lock now and then, for the machines that cannot see who holds it."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            with contextlib.suppress(OSError):  # the file system is away: the lease outlasts that
                os.utime(lock.fileno())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _reap() -> None:
    """Remove what attempts left whose runner was killed."""
    for path in sorted(ATTEMPTS.iterdir()):
        if path.suffix == ".lock" and abandoned(path):
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)
        elif path.is_dir() and not _lock_of(path).exists() and _expired(path):  # somebody removed the lock
            shutil.rmtree(path, ignore_errors=True)


def abandoned(lock: Path) -> bool:
    """Whether the runner that made this lock is gone, however it ended.

    A lock of this machine says so itself. That of another machine is believed to be held until its lease has expired.
    """
    try:
        with open(lock) as held:
            if held.read().startswith(f"{machine()} "):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
    except FileNotFoundError:
        return True
    except (BlockingIOError, PermissionError):  # held, or not ours to look at
        return False
    except OSError:  # no locks here
        pass
    return _expired(lock)


def _expired(path: Path) -> bool:
    try:
        return age(path, ATTEMPTS / ".clock") > LEASE
    except OSError:
        return False


def _lock_of(root: Path) -> Path:
    return root.with_name(f"{root.name}.lock")
