"""Liveness locks on a shared file system: an flock tells its own machine at once whether the holder lives.

Other machines, which may not see the flock, go by the age of its heartbeat: the holder touches the file now and then.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import threading
from collections.abc import Generator
from pathlib import Path
from typing import IO

from adapter_build.core.regular_file import open_regular

LONGEST = 2**12  # bytes of a lock that are read
BOOT = Path("/proc/sys/kernel/random/boot_id")
HEARTBEAT = 60.0  # seconds between two touches
LEASE = 24 * 3600.0  # seconds without a heartbeat after which a holder on another machine is certainly dead


def machine() -> str:
    """Return the host's name and the id of its boot: the same for two processes that share their flocks."""
    return f"{socket.gethostname()} {BOOT.read_text().strip() if BOOT.exists() else '-'}"


def lock_file(path: Path) -> IO[bytes]:
    """Open a file to lock, and create it if it is missing. Raises `OSError` for a link, and for no regular file.

    A FIFO would block the opener.
    """
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's file: an flock needs no more than reading
        handle = os.open(path, flags | os.O_RDONLY)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, f"{path} is no regular file")
    return os.fdopen(handle, "rb", buffering=0)


def age(path: Path, clock: Path) -> float:
    """Return the seconds since `path` was touched. Raises `OSError`.

    `clock` is a file beside it, which is touched now. The file server stamps both, so that the clocks of two machines
    need not agree.
    """
    clock.touch()
    return clock.stat().st_mtime - path.stat().st_mtime


@contextlib.contextmanager
def hold(lock: IO[str]) -> Generator[None]:
    """Hold a new lock: an flock for this machine; for others the machine's name in it, and a heartbeat."""
    with contextlib.suppress(OSError):  # a file system without locks: there the heartbeat alone tells
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.write(f"{machine()} {os.getpid()}\n")
    lock.flush()
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


def abandoned(lock: Path) -> bool:
    """Tell whether the holder of this lock is gone, however it ended.

    Of a lock of this machine the flock tells. One of another machine counts as held until its lease has expired.
    """
    try:
        with open_regular(lock) as file:
            if file.read(LONGEST).startswith(f"{machine()} ".encode()):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
    except FileNotFoundError:
        return True
    except (BlockingIOError, PermissionError):  # held, or not ours to look at
        return False
    except OSError:  # no locks here
        pass
    return expired(lock)


def expired(path: Path) -> bool:
    """Tell whether a file has had no heartbeat for as long as a lease lasts."""
    try:
        return age(path, path.with_name(".clock")) > LEASE
    except OSError:
        return False
