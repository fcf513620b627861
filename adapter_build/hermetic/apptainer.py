"""Runtime `apptainer`: a step in its environment's image, by digest, without a daemon, as clusters have it."""

import contextlib
import shutil
from collections.abc import Generator

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.docker import PATH, PYTHON, container_variables
from adapter_build.hermetic.environments import FOREIGN
from adapter_build.hermetic.execution import Execution, Limits, RunFacts, child, on_nodes
from adapter_build.hermetic.images import Image, image_of
from adapter_build.hermetic.sandbox import WORK, mounts
from adapter_build.hermetic.sandbox import command as script_command


@contextlib.contextmanager
def running(action: Action, attempt: Attempt, _limits: Limits) -> Generator[Execution]:
    """Start the script with `apptainer exec`. The scheduler bounds memory and processes."""
    if not shutil.which("apptainer"):
        raise BadInput("runtime apptainer: no such command on this machine: install apptainer, or set runtime: host")
    image = image_of(action.environment)
    # Apptainer hands these over and keeps them from the command line.
    handed = {f"APPTAINERENV_{name}": value for name, value in container_variables(action, attempt).items()}
    network = "the machine's network" if action.network else "no network"
    words, variables, nodes = on_nodes(action, command(action, attempt, image), {"PATH": PATH, **handed})
    ran = RunFacts("apptainer", f"apptainer --containall, {network}{nodes}", image.reference, image.image_id)
    with child(words, variables, ran) as execution:
        yield execution


def command(action: Action, attempt: Attempt, image: Image) -> list[str]:
    """Return the command line of `apptainer exec`. Raises `BadInput` for a path that apptainer cannot bind."""
    words = ["apptainer", "--silent", "exec", "--containall", "--no-home", "--no-privs"]
    words += [] if action.network else ["--net", "--network", "none"]
    words += ["--nv"] if action.devices else []
    for mount in mounts(action, attempt):
        if {":", ","} & set(f"{mount.source}{mount.target}"):
            raise BadInput(f"{mount.source}: apptainer takes no file with a colon or a comma in its path: rename it")
        words += ["--bind", f"{mount.source}:{mount.target}:{'rw' if mount.writable else 'ro'}"]
    return [
        *words,
        "--pwd",
        str(WORK),
        f"docker://{image.reference}",
        *script_command(action, FOREIGN.get(action.environment, PYTHON)),
    ]
