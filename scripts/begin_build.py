"""What a build does before its first step."""

import sys
from typing import Any

from build_lock import hold
from faults import BadInput
from hermetic.keys import make_key
from hermetic.runtime import Runtime
from leftover_jobs import end_leftover_jobs
from nim_settings import NimSettings


def begin(config: dict[str, Any], runtime: Runtime, nim: NimSettings | None) -> None:
    """Take the checkout, end what a killed build left running, see to a key, and say how steps will run.

    Ends this process with one line if another build runs here, or if NIM could not be started at the end of this one.
    """
    hold()
    end_leftover_jobs()
    make_key(config["signing"]["key"])
    if nim:
        from nim_engine import preflight  # no other build needs it

        try:
            preflight(nim)
        except BadInput as fault:
            sys.exit(f"error: {fault}")
    print(f"  runtime {runtime.name}: {runtime.reason}", file=sys.stderr)
