"""One status line at the bottom of the terminal, shared by all processes of a build."""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO


class StatusLine:
    """A line that is redrawn in place. Of several processes one draws at a time; without a terminal none does."""

    def __init__(self) -> None:
        self._lock: IO[str] | None = None
        self._interactive = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Replace the line, if no other process holds it."""
        if self._interactive and self._hold():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[2K{text[:width]}", end="", file=sys.stderr, flush=True)

    def finish(self, text: str = "") -> None:
        """Clear the line, print `text` above it for good, and let another process draw."""
        clear = "\r\x1b[2K" if self._interactive else ""
        if text or self._lock:
            print(f"{clear}{text}", end="\n" if text else "", file=sys.stderr, flush=True)
        if self._lock:
            self._lock.close()
            self._lock = None

    def _hold(self) -> bool:
        if self._lock is None:
            lock = open(_lock_path(), "w")  # noqa: SIM115 - held until finish()
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = lock
                return True
            lock.close()
        return self._lock is not None


def _lock_path() -> Path:
    terminal = os.ttyname(sys.stderr.fileno()).replace(os.sep, "-")
    return Path(tempfile.gettempdir()) / f"status-line-{os.getuid()}{terminal}.lock"
