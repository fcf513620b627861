"""A child in a process group of its own: it ends with whoever started it, whatever ends that one."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from types import FrameType

SECONDS_TO_END = 8  # less than the step runner's own patience, so that a TERM to it ends a child in good order


def end_group(process: subprocess.Popen[bytes], seconds: float = SECONDS_TO_END) -> None:
    """End the process group that `process` leads: TERM, `seconds` of patience, then KILL for whatever is left."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn TERM and INT into `SystemExit`, so that what was started is ended on the way out."""

    def leave(number: int, _frame: FrameType | None) -> None:
        for signalled in before:  # a second one must not interrupt the ending
            signal.signal(signalled, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
