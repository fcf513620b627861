"""Status line at the bottom of the terminal, shared by all processes of a build."""

import contextlib
import fcntl
import os
import shutil
import sys
from pathlib import Path

from adapter_build.core.printable import printable
from adapter_build.hermetic.access import private_folder

CLEAR = "\r\x1b[2K"


class StatusLine:
    """A line that is redrawn in place. Of several processes one draws at a time; without a terminal none does.

    It steers the terminal itself, and so bypasses the streams that escape such characters (faults.run).
    """

    def __init__(self) -> None:
        self._lock: int | None = None
        self._interactive = bool(sys.__stderr__ and sys.__stderr__.isatty())

    def show(self, text: str) -> None:
        """Replace the line, if no other process holds it."""
        if self._interactive and self._hold():
            width = shutil.get_terminal_size().columns - 1
            print(f"{CLEAR}{printable(text)[:width]}", end="", file=sys.__stderr__, flush=True)

    def finish(self, text: str = "") -> None:
        """Clear the line, print `text` above it for good, and let another process draw."""
        clear = CLEAR if self._interactive else ""
        if text or self._lock is not None:
            print(f"{clear}{printable(text)}", end="\n" if text else "", file=sys.__stderr__, flush=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hold(self) -> bool:
        if self._lock is None:
            with contextlib.suppress(OSError):  # another process draws, or there is no folder for a lock
                lock = os.open(_lock_path(), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._lock = lock
                except OSError:
                    os.close(lock)
        return self._lock is not None


def _lock_path() -> Path:
    assert sys.__stderr__  # a line is held by a process with a terminal
    terminal = os.ttyname(sys.__stderr__.fileno()).replace(os.sep, "-")
    return private_folder() / f"status-line{terminal}.lock"
