"""How a step script refuses bad input: one line on stderr, exit code 2, no traceback."""

import sys
from collections.abc import Callable


class BadInput(Exception):
    """A user's mistake. The message says what is wrong, where, and the command or config key that mends it."""


def run(main: Callable[[], None]) -> None:
    """Call `main`; turn `BadInput` into one `error:` line on stderr and exit code 2."""
    try:
        main()
    except BadInput as fault:
        print(f"error: {' '.join(str(fault).split())}", file=sys.stderr)
        sys.exit(2)
