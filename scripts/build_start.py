"""What happens before a build's first step: the checkout is taken, the signing key made, NIM's needs looked at."""

import sys
from typing import Any

from build_lock import hold
from faults import BadInput
from hermetic.keys import make_key
from hermetic.runtime import Runtime
from nim_engine import preflight
from nim_settings import NimSettings


def start(config: dict[str, Any], runtime: Runtime, nim: NimSettings | None) -> None:
    """Begin a build; end this process with one line if another runs here, or if NIM could not be started after it."""
    hold()
    make_key(config["signing"]["key"])
    if nim:
        try:
            preflight(nim)
        except BadInput as fault:
            print(f"error: {fault}", file=sys.stderr)
            sys.exit(1)
    print(f"  runtime {runtime.name}: {runtime.reason}", file=sys.stderr)
