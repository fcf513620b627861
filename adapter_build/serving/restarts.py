"""The count of an engine's ends, and the pause before each new start."""

import time
from collections.abc import Callable

STEADY = 120.0  # seconds: whoever served that long has not ended for its start
LIMIT = 5  # ends in a row of engines that did not
FIRST_PAUSE = 1.0
LAST_PAUSE = 30.0


class Restarts:
    """Counts the ends in a row; `now` is a clock in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._count = 0
        self._began: float | None = None

    def serving(self) -> None:
        """Note that an engine serves from now on."""
        self._began = self._now()

    def pause(self) -> float | None:
        """Note that it ended; return the seconds before the next one is started, or None: it is given up."""
        if self._began is not None and self._now() - self._began >= STEADY:
            self._count = 0
        self._began = None
        self._count += 1
        return None if self._count > LIMIT else min(LAST_PAUSE, FIRST_PAUSE * 2 ** (self._count - 1))
