"""The `plan` executor of Snakemake: it runs nothing, and records every job that Snakemake would run.

    PLAN=plan.json python -m adapter_build.workflow.plan_executor --cores 1 [options of Snakemake]

The file holds `jobs`, in the order in which they would run:

    command  its shell command, as Snakemake would start it
    params   its params as Snakemake stores them, to detect changes: a set of values

and `settings`, the variables STEP_… that the Snakefile has set for step runners. The file is written only if Snakemake
could plan, so that its list is complete, and an empty list means that there is nothing to do.
"""

# pyright: basic
# Snakemake has no types.

import json
import os
import sys
from pathlib import Path
from typing import Any

from snakemake import cli
from snakemake.executors import dryrun
from snakemake.executors.dryrun import common_settings  # noqa: F401 - a part of the plugin: nothing is prepared or run
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

JOBS: list[dict[str, Any]] = []


class Executor(dryrun.Executor):
    """An executor that records each job in place of running it."""

    def run_job(self, job: Any) -> None:
        """Record one job, or each job of a group, and tell the scheduler that it has ended."""
        for single in job.jobs if job.is_group() else [job]:
            params = sorted({repr(value) for value in single.non_derived_params})
            JOBS.append({"command": single.shellcmd or "", "params": params})
        super().run_job(job)


def main() -> None:
    """Plan with the options of the command line; write the file that PLAN names; exit as Snakemake does."""
    ExecutorPluginRegistry().register_plugin("snakemake_executor_plugin_plan", sys.modules[__name__])
    try:
        cli.main(["--executor", "plan", *sys.argv[1:]])  # targets may follow after --
    except SystemExit as ended:
        if ended.code:
            raise
    settings = {name: value for name, value in os.environ.items() if name.startswith("STEP_")}
    Path(os.environ["PLAN"]).write_text(json.dumps({"jobs": JOBS, "settings": settings}), encoding="utf-8")


if __name__ == "__main__":
    main()
