"""Stall timeout: wait for a remote machine while it makes progress, and give up where it is silent or sends drops.

A socket's own timeout starts anew with every byte, and a file system has none. So the work runs in a daemon thread,
which is abandoned where too little arrived: nothing can end such a thread, but it holds up nothing either, not even the
end of the process.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

SLOWEST = 1000  # bytes a second: a slower transfer counts as stalled
T = TypeVar("T")


class Stalled(Exception):
    """Too little arrived in the time given. The message says how much; `left` is the abandoned thread."""

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


def unless_stalled(work: Callable[[], T], seconds: float, arrived: Callable[[], float] | None = None) -> T:
    """Return what `work` returns. Raises `Stalled` where that takes `seconds`, and whatever `work` raises.

    `arrived` returns the bytes that have come so far: while each period of `seconds` brings SLOWEST of them a second,
    the wait goes on. `work` must bear to be abandoned: nobody may read what it still writes.
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
            raise Stalled(f"{came} in {seconds:g} s", waited)
        before = now
    if waited.error:
        raise waited.error
    return waited.result[0]


def bytes_at(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; 0 where there is none."""
    try:
        if path.is_dir():
            return sum(bytes_at(inner) for inner in path.iterdir())
        return path.stat().st_size
    except OSError:
        return 0
