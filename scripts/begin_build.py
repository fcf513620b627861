"""What a build does before its first step."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from base_model import BaseModel
from build_lock import hold
from faults import BadInput
from hermetic.checkout import own_commit
from hermetic.docker_engine import engine
from hermetic.keys import make_key
from hermetic.runtime import Runtime
from hermetic.settings import set_for_steps
from leftover_jobs import end_leftover_jobs
from nim_settings import NimSettings
from restricted_pods import restrict_pods
from tuning_backend import MEGATRON

WRITTEN = (".snakemake", "results", "logs", "benchmarks")  # by every build, in its checkout


def check_writable() -> None:
    """Raise `BadInput` for a checkout that this user cannot build in, as one that another user owns."""
    made = [path for path in map(Path, WRITTEN) if path.is_dir()]
    for path in made if len(made) == len(WRITTEN) else [Path(), *made]:
        if os.access(path, os.W_OK | os.X_OK):
            continue
        owner, own = path.stat().st_uid, os.geteuid()
        raise BadInput(
            f"{path.absolute()}: not writable for uid {own}, uid {owner} owns it: sudo chown -R {own} {Path.cwd()}, or "
            "build in a clone of your own"
        )


def begin(config: dict[str, Any], runtime: Runtime, nim: NimSettings | None, base: BaseModel) -> None:
    """Take the checkout, end what a killed build left running, see to a key, and say how steps will run.

    Files in base.path that are no part of the base are named, and why lineage has no commit where it has none.

    Ends this process with one line if another build runs here, or if an image that it will need could not be started.
    """
    hold()
    end_leftover_jobs()
    restrict_pods()
    make_key(config["signing"]["key"])
    try:
        if config["tune"]["backend"] == MEGATRON and runtime.name != "apptainer":
            with engine(without="tune.backend: embedded"):
                pass
        if nim:
            from nim_engine import preflight  # no other build needs it

            preflight(nim)
        print(f"  runtime {runtime}", file=sys.stderr)
    except BadInput as fault:
        sys.exit(f"error: {fault}")
    if base.left_out:
        print(f"  base.path: {', '.join(base.left_out)}: no file of the base, left out", file=sys.stderr)
    commit = own_commit()
    if not commit.id:
        print(f"  lineage has no commit: {commit.reason}: {commit.mend}", file=sys.stderr)


def tell_steps(config: dict[str, Any], runtime: Runtime, sent: bool) -> None:
    """Set what step runners are told; in a job that a build `sent`, say how its steps are held on this node."""
    set_for_steps(config, runtime.name)
    if sent:
        with contextlib.suppress(BadInput):  # no engine on this node: a step that needs one says so
            print(f"  runtime {runtime}", file=sys.stderr)
