"""Errors that a user can mend: one `error:` line on stderr, exit code 2, no traceback.

They are bad input (`BadInput`) and refusals of the machine, such as a full disk (`OSError`). Anything else is a bug,
and keeps its traceback and exit code 1.
"""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Generator
from typing import ParamSpec

from adapter_build.core.file_systems import why_closed, why_full, written_folders
from adapter_build.core.printable import printable, safe

P = ParamSpec("P")
FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
LIMITS = {
    errno.EFBIG: "a file may be no larger here: raise ulimit -f",
    errno.EMFILE: "too many files are open: raise ulimit -n",
    errno.ENFILE: "the machine has too many files open: raise fs.file-max",
    errno.EIO: "the disk cannot be read or written: look at dmesg",
    errno.ESTALE: "the network file system has lost it: mount it again",
    errno.ENAMETOOLONG: "its name is too long for this file system: shorten it",
    errno.ELOOP: "its links go round in a circle: rm the link",
}


class BadInput(Exception):
    """A user's mistake. The message says what is wrong, where, and the command or config key that mends it."""


def guard(check: Callable[P, None]) -> Callable[P, None]:
    """Mark a function that raises `BadInput` or does nothing: no result depends on it, and so no action key does.

    Nothing that it computes may reach its caller: it returns None, and changes neither its arguments nor a name of its
    module. An edit of it runs no step anew (hermetic/closure.py); a result that it would now refuse stays.
    """
    return check


def run(main: Callable[[], object]) -> None:
    """Call `main`; turn `BadInput` and the machine's refusals into one `error:` line on stderr and exit code 2.

    Everything that `main` prints is made fit for a terminal: no foreign name or text steers it.
    """
    with safe_streams():
        try:
            main()
        except Exception as fault:
            end(fault)


@guard
def end(fault: Exception) -> None:
    """Exit with the one line of a user's mistake or a refusal, or with the traceback of a bug."""
    if isinstance(fault, BadInput) or (isinstance(fault, OSError) and refusal(fault)):
        print(error_line(fault), file=sys.stderr)
        sys.exit(2)
    traceback.print_exception(fault)  # here, and not by Python on leaving, so that it steers no terminal either
    sys.exit(1)


def error_line(fault: object) -> str:
    """Return the `error:` line for `BadInput`, an `OSError` or any other object, printable and on one line."""
    text = (isinstance(fault, OSError) and not isinstance(fault, BadInput) and refusal(fault)) or str(fault)
    return f"error: {printable(' '.join(text.split()))}"


def refusal(error: OSError) -> str | None:
    """Return a line that says what the machine refused, and what mends it; None for any other error."""
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    # Of a renaming, the second is the more likely one: the first was written just before.
    name = named[-1] if named else ""
    reason = f"{os.strerror(error.errno)}{f': {name!r}' if name else ''}" if error.errno else ""
    if error.errno in FULL:
        return f"{reason}: {why_full([name] if name else written_folders())}"
    if error.errno in LIMITS:
        return f"{reason}: {LIMITS[error.errno]}"
    if error.errno in CLOSED and name:
        return f"{reason}: {why_closed(name, error.errno)}"
    return None


@contextlib.contextmanager
def safe_streams() -> Generator[None]:
    """Escape, in all that is printed, every character that would steer a terminal, but for line ends and tabs."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(safe, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed, or a pipe without a reader
                stream.flush()
        sys.stdout, sys.stderr = before


def say(*parts: object, error: bool = False) -> None:
    """Print one line, of which a foreign name cannot make two; on stderr with `error`."""
    print(printable(" ".join(map(str, parts))), file=sys.stderr if error else sys.stdout, flush=True)
