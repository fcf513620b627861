"""Snakemake's `plan` executor: it runs nothing, and writes down every job that Snakemake would run.

    PLAN=plan.json python -m adapter_build.workflow.plan_executor --cores 1 [options of Snakemake]

The file holds `jobs`, in the order in which they would run, each a job after those it depends on:

    command  its shell command, as Snakemake would start it
    params   its params as Snakemake remembers them, to see whether they have changed: a set of values

and `settings`, the variables STEP_… that the Snakefile has set for step runners. It is there only where Snakemake could
plan: whoever reads the file knows that the list is whole, and that an empty one means that there is nothing to do.
"""

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
    """Records each job in place of running it."""

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
