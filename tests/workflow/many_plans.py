"""Plan many configurations of one checkout, two at a time: Snakemake is imported and the code of steps read once.

    cd CHECKOUT; python many_plans.py all|pending TARGETS OVERLAY…

Each OVERLAY gets a plan beside it, OVERLAY.json (workflow/plan_executor.py), and what Snakemake said, OVERLAY.log.
`all` plans every step of `rule all`, `pending` those that Snakemake would run now for the TARGETS, a list in JSON.
"""

import gc
import json
import os
import sys
import traceback
from pathlib import Path

AT_ONCE = 2


def main() -> None:
    """Start a child per overlay."""
    which, targets, *overlays = sys.argv[1:]
    sys.path.insert(0, str(Path.cwd()))
    # The children's imports; Snakemake's own go round in a circle unless its command line comes first.
    import snakemake.cli
    import snakemake.workflow  # noqa: F401

    from adapter_build.hermetic.closure import code_digest
    from adapter_build.workflow import plan_executor

    for script in Path("scripts").glob("*.py"):
        code_digest(script)
    gc.freeze()
    options = ["--forceall"] if which == "all" else []
    wanted = ["--", *json.loads(targets)] if which == "pending" else []
    running: set[int] = set()
    for overlay in overlays:
        if len(running) == AT_ONCE:
            running.remove(os.wait()[0])
        child = os.fork()
        if child:
            running.add(child)
            continue
        log = os.open(f"{overlay}.log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["PLAN"] = f"{overlay}.json"
        sys.argv[1:] = ["--workflow-profile", "none", "--cores", "1", "--nolock", *options]
        sys.argv += ["--configfile", "tests/tiny/config.yaml", overlay, *wanted]
        try:
            plan_executor.main()
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    for _ in running:
        os.wait()


if __name__ == "__main__":
    main()
