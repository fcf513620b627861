"""What every step runner of a build is told, by variables."""

import os
import sys
from pathlib import Path
from typing import Any


def settings(config: dict[str, Any], runtime: str) -> dict[str, str]:
    """Return the variables for a checked configuration.

    PATH            led by the Python that runs this: it has what the step runner needs
    STEP_RUNTIME    docker, apptainer or host
    STEP_ISOLATION  best, or required: a runner refuses to start a step that nothing holds
    STEP_STORE      the store's folder, STEP_STORE_URL the one it shares; empty: none
    STEP_STORE_TIMEOUT  seconds after which a shared store that is silent is left
    STEP_KEY        the private key that signs attestations; empty: unsigned
    STEP_CERTIFICATES   its certificate and those that lead to a root, separated as PATH is; empty: none
    STEP_TRUSTED    public keys of other builders, separated as PATH is
    STEP_TOLERANCE  how far numbers may differ that a step made on GPUs; for `audit rebuild`, no runner asks
    """
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "STEP_RUNTIME": runtime,
        "STEP_ISOLATION": config["isolation"],
        "STEP_STORE": config["store"]["path"],
        "STEP_STORE_URL": config["store"]["url"],
        "STEP_STORE_TIMEOUT": str(config["store"]["timeout"]),
        "STEP_KEY": config["signing"]["key"],
        "STEP_CERTIFICATES": os.pathsep.join(config["signing"]["certificates"]),
        "STEP_TRUSTED": os.pathsep.join(config["signing"]["trusted"]),
        "STEP_TOLERANCE": str(config["tolerance"]),
    }


def set_for_steps(config: dict[str, Any], runtime: str) -> None:
    """Set these variables in this process, for the runners that it starts."""
    os.environ.update(settings(config, runtime))


def paths_of(variable: str) -> list[Path]:
    """Return the files that one of these variables names; none where it is empty or not set."""
    return [Path(name) for name in os.environ.get(variable, "").split(os.pathsep) if name]
