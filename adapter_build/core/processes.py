"""Process control: children that end with their parent, however it ends, and imports without garbage collection."""

import contextlib
import gc
import os
import signal
import subprocess
import time
from collections.abc import Generator
from types import FrameType

SECONDS_BETWEEN_LOOKS = 0.02
SECONDS_TO_END = 8  # less than the step runner waits, so that a TERM to it still ends a child in good order


def end_group(process: subprocess.Popen[bytes], seconds: float = SECONDS_TO_END) -> None:
    """End the process group that `process` leads: TERM, up to `seconds` of waiting, then KILL for the rest.

    The kernel is asked, not `process`: a signal handler that raises may have left the lock inside the `Popen` taken
    for ever, and the `Popen` would then neither say that the child has ended nor return.
    """
    if process.returncode is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return
    if not _ended(process.pid):
        os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + seconds
        while time.monotonic() < until and not _ended(process.pid):
            time.sleep(SECONDS_BETWEEN_LOOKS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        process.returncode = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])


def _ended(child: int) -> bool:
    """Tell whether a child has ended, without reaping it."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


@contextlib.contextmanager
def ended_by_signals() -> Generator[None]:
    """Turn TERM and INT into `SystemExit` while the body runs, so that its cleanup ends the children."""

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


@contextlib.contextmanager
def gc_paused() -> Generator[None]:
    """Import large libraries a sixth faster: nothing that they make is garbage, so that no collection looks through it.

    The collector leaves these objects alone afterwards, too.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
