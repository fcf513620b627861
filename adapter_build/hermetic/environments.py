"""Environments: `containers/<name>/requirements.lock`, installed as the venv `.venvs/<name>`.

A variant `<name>.<variant>` of an environment has the lock `containers/<name>/requirements.<variant>.lock`.
"""

from pathlib import Path

from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput

ENVIRONMENTS = ("workflow", "curate", "tune", "serve")
CUDA = "tune.cuda"  # the environment `tune` with PyTorch for GPUs
# Foreign images that steps run in too, each with its own Python; their locks list nothing.
FOREIGN = {"nemo-24.07": "/usr/bin/python"}
CHECKS = "checks"  # other projects' validators, for the tests: no step runs in it
CONTAINERS = Path("containers")
VENVS = Path(".venvs")
INSTALL = "python -m adapter_build.cli.install_environment"


def tuning(devices: int) -> str:
    """Return the environment of the steps that use GPUs where there are any (`devices`): tuning and evaluation."""
    return CUDA if devices else "tune"


def needed(devices: int) -> tuple[str, ...]:
    """Return the environments of a build whose tuning and evaluation get `devices` GPUs."""
    return (*ENVIRONMENTS, CUDA) if devices else ENVIRONMENTS


def lock_path(environment: str) -> Path:
    """Return the path of an environment's lock, which need not exist."""
    name, *variant = [environment] if environment in FOREIGN else environment.split(".")
    return CONTAINERS / name / ".".join(["requirements", *variant, "lock"])


def lock_file(environment: str) -> Path:
    """Return the lock of an environment. Raises `BadInput` where there is none."""
    lock = lock_path(environment)
    if not lock.is_file():
        known = ", ".join(sorted(map(_name, CONTAINERS.glob("*/requirements*.lock"))))
        raise BadInput(f"{lock}: no such environment (there are: {known}); make lock writes it")
    return lock


def lock_digest(environment: str) -> str:
    """Return the sha256 of an environment's lock. Raises `BadInput` where there is none."""
    return file_digest(lock_file(environment))


def venv_marker(environment: str) -> Path:
    """Return the file that tells Snakemake that a venv is there.

    Snakemake removes its outputs before a job, so that not this file but the lock's copy inside the venv tells which
    lock the venv was built from.
    """
    return VENVS / f"{environment}.ready"


def installed_lock(environment: str) -> Path:
    """Return the copy of the lock that a venv was built from, inside the venv."""
    return VENVS / environment / "requirements.lock"


def interpreter(environment: str) -> Path:
    """Return the venv's Python. Raises `BadInput` where the venv is missing or was built from another lock."""
    installed, lock = installed_lock(environment), lock_file(environment)
    if not installed.is_file():
        raise BadInput(f"{VENVS / environment}: not installed; {INSTALL} {environment}")
    if installed.read_bytes() != lock.read_bytes():
        raise BadInput(f"{VENVS / environment}: not what {lock} says; {INSTALL} {environment}")
    return (VENVS / environment).resolve() / "bin" / "python"


def _name(lock: Path) -> str:
    return ".".join([lock.parent.name, *lock.name.split(".")[1:-1]])
