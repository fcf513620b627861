"""What a build does before its first step."""

import sys
from typing import Any

from build_lock import hold
from hermetic.keys import make_key
from hermetic.runtime import Runtime
from leftover_jobs import end_leftover_jobs


def begin(config: dict[str, Any], runtime: Runtime) -> None:
    """Take the checkout, end what a killed build left running, see to a key, and say how steps will run."""
    hold()
    end_leftover_jobs()
    make_key(config["signing"]["key"])
    print(f"  runtime {runtime.name}: {runtime.reason}", file=sys.stderr)
