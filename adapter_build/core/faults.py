"""The end of a script on bad input or a machine that refuses: one line on stderr, exit code 2, no traceback."""

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator

from adapter_build.core.machine_faults import told
from adapter_build.core.printable import printable, safe


class BadInput(Exception):
    """A user's mistake. The message says what is wrong, where, and the command or config key that mends it."""


def run(main: Callable[[], object]) -> None:
    """Call `main`; turn `BadInput`, and what the machine refuses, into one `error:` line on stderr and exit code 2.

    Whatever it prints is made fit for a terminal: a foreign name or text steers none.
    """
    with safe_streams():
        try:
            main()
        except (BadInput, OSError) as fault:
            if not isinstance(fault, BadInput) and not told(fault):
                traceback.print_exc()
                sys.exit(1)
            print(error_line(fault), file=sys.stderr)
            sys.exit(2)
        except Exception:
            traceback.print_exc()  # here, and not by Python on leaving, so that it steers no terminal either
            sys.exit(1)


def error_line(fault: object) -> str:
    """Return the one line that a refusal is, of what the machine refused, too."""
    text = (isinstance(fault, OSError) and not isinstance(fault, BadInput) and told(fault)) or str(fault)
    return f"error: {printable(' '.join(text.split()))}"


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Show what is printed, but for ends of lines and tabs, as `printable` writes it."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(safe, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed, or a pipe that nobody reads any more
                stream.flush()
        sys.stdout, sys.stderr = before


def say(*parts: object, error: bool = False) -> None:
    """Print one line, of which a foreign name cannot make two."""
    print(printable(" ".join(map(str, parts))), file=sys.stderr if error else sys.stdout, flush=True)
