"""What a build does before its first step."""

import sys
from typing import Any

from base_model import BaseModel
from build_lock import hold
from faults import BadInput
from hermetic.docker_engine import engine
from hermetic.keys import make_key
from hermetic.runtime import Runtime
from leftover_jobs import end_leftover_jobs
from nim_settings import NimSettings
from tuning_backend import MEGATRON


def begin(config: dict[str, Any], runtime: Runtime, nim: NimSettings | None, base: BaseModel) -> None:
    """Take the checkout, end what a killed build left running, see to a key, and say how steps will run.

    Files in base.path that are no part of the base are named.

    Ends this process with one line if another build runs here, or if an image that it will need could not be started.
    """
    hold()
    end_leftover_jobs()
    make_key(config["signing"]["key"])
    try:
        if config["tune"]["backend"] == MEGATRON and runtime.name != "apptainer":
            with engine(without="tune.backend: embedded"):
                pass
        if nim:
            from nim_engine import preflight  # no other build needs it

            preflight(nim)
    except BadInput as fault:
        sys.exit(f"error: {fault}")
    if base.left_out:
        print(f"  base.path: {', '.join(base.left_out)}: no file of the base, left out", file=sys.stderr)
    print(f"  runtime {runtime.name}: {runtime.reason}", file=sys.stderr)
