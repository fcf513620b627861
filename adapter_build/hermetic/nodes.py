"""The command of a step on several nodes of its Slurm job: srun starts it once on each."""

import os
import shutil
from collections.abc import Mapping, Sequence

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.action import Action


def on_nodes(
    action: Action, command: Sequence[str], variables: Mapping[str, str]
) -> tuple[list[str], dict[str, str], str]:
    """Return the command under srun, its variables, and the number of nodes in words; all unchanged for one node.

    Every node sees the attempt's folder: it lies in the checkout, which they share. Raises `BadInput` outside of a job.
    """
    if action.nodes == 1:
        return [*command], {**variables}, ""
    srun, job = shutil.which("srun"), os.environ.get("SLURM_JOB_ID")
    if not srun or not job:
        raise BadInput(
            f"it wants {action.nodes} nodes, which only a Slurm job has: build with --workflow-profile profiles/slurm, "
            "or set nodes and curate.nodes to 1"
        )
    start = [
        srun, f"--jobid={job}", "--overlap", f"--nodes={action.nodes}", f"--ntasks={action.nodes}",
        "--ntasks-per-node=1", f"--cpus-per-task={action.threads}", "--kill-on-bad-exit=1", "--quiet",
    ]  # fmt: skip
    settings = {"SLURM_CONF": os.environ["SLURM_CONF"]} if "SLURM_CONF" in os.environ else {}
    return [*start, *command], {**variables, **settings}, f", on {action.nodes} nodes"
