"""Wait for a machine elsewhere as long as it gets on: one that is silent, or sends a byte a minute, is left.

A socket's own time-out starts anew with every byte, and a file system's has none. So the work runs in a thread that is
left behind where too little arrived in a while: nobody can end it, but it holds up nobody, not even the end of the
process.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

SLOWEST = 1000  # bytes a second, below which a transfer would take for ever
T = TypeVar("T")


class Silent(Exception):
    """Too little arrived in the time that was given; the message says how much, `left` is the thread that waits yet."""

    def __init__(self, reason: str, left: threading.Thread) -> None:
        super().__init__(reason)
        self.left = left


class _Work(threading.Thread, Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result.append(self._work())
        except BaseException as error:  # raised again where it is waited for
            self.error = error


def patiently(work: Callable[[], T], seconds: float, arrived: Callable[[], int] | None = None) -> T:
    """Return what `work` returns. Raises `Silent` where it takes `seconds`, and what it raises.

    `arrived` says how many bytes have come so far: while there are SLOWEST more of them for each second, it is waited
    on. The work must bear to be left: what it writes later must be nobody's any more.
    """
    waited = _Work(work)
    waited.start()
    before = 0
    while True:
        waited.join(seconds)
        if not waited.is_alive():
            break
        now = arrived() if arrived else 0
        if now - before < SLOWEST * seconds:
            came = f"{now - before:,} bytes" if now else "no answer"
            raise Silent(f"{came} in {seconds:g} s", waited)
        before = now
    if waited.error:
        raise waited.error
    return waited.result[0]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all below a folder; 0 where there is none."""
    try:
        if path.is_dir():
            return sum(size_of(inner) for inner in path.iterdir())
        return path.stat().st_size
    except OSError:
        return 0
