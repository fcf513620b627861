"""Progress of a step: a bar on a terminal, an event for the step runner, nothing in a pipe.

Under the step runner the script's stderr goes to the step's log, so the bar cannot be drawn there. The script then
writes one event line at most twice a second (`EVENT` + JSON) and the runner, which holds the terminal, draws it.
"""

import json
import os
import sys
import time
from typing import Any

from tqdm import tqdm

from adapter_build.core.printable import printable

EVENT = "\x1eprogress "
SECONDS_BETWEEN_EVENTS = 0.5


class Progress:
    """A bar over `total` units of work, to which `update(n, loss="2.31")` adds n units and figures to show."""

    def __init__(self, description: str, total: int | None, unit: str = "it") -> None:
        self._state: dict[str, Any] = {
            "description": description,
            "total": total,
            "unit": unit,
            "done": 0,
            "figures": {},
        }
        self._events = os.environ.get("STEP_PROGRESS") == "1"
        self._began = time.monotonic()
        self._sent = 0.0
        quiet = self._events or not (sys.__stderr__ and sys.__stderr__.isatty())
        # The bar steers the terminal, and so bypasses the streams that escape such characters (faults.run).
        shown = printable(description)
        self._bar: Any = tqdm(total=total, desc=shown, unit=unit, leave=False, disable=quiet, file=sys.__stderr__)

    def update(self, units: int = 1, **figures: str) -> None:
        """Advance by `units` and replace the figures shown."""
        self._state["done"] += units
        self._state["figures"] = figures
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(units)
        now = time.monotonic()
        if self._events and now - self._sent >= SECONDS_BETWEEN_EVENTS:
            self._sent = now
            self._state["elapsed"] = now - self._began
            print(EVENT + json.dumps(self._state), file=sys.__stderr__, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
