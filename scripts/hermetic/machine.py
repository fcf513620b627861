"""Which machine this is, and how long ago a file was touched by the clock of the file system that it lies on."""

import socket
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")


def machine() -> str:
    """Return the host's name and the id of its boot: the same for two processes that share their flocks."""
    return f"{socket.gethostname()} {BOOT.read_text().strip() if BOOT.exists() else '-'}"


def age(path: Path, clock: Path) -> float:
    """Return the seconds since `path` was touched. `clock` is a file beside it, touched now: by whoever serves both,
    so that it does not matter whether the clocks of two machines agree. Raises `OSError`.
    """
    clock.touch()
    return clock.stat().st_mtime - path.stat().st_mtime
