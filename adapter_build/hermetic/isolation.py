"""Isolation of steps by the runtime `host`: bubblewrap, else Landlock, else none; and a description of each."""

import os

from adapter_build.core.faults import BadInput
from adapter_build.hermetic import bubblewrap, landlock, landlock_sandbox
from adapter_build.hermetic.action import Action

BUBBLEWRAP, LANDLOCK, NONE = "bubblewrap", "landlock", "none"
UNHELD = "no isolation"  # a step can use files and the network that it did not declare
LESS = "less isolation"


def kind() -> str:
    """Return the kind of isolation on this machine."""
    if bubblewrap.works():
        return BUBBLEWRAP
    return LANDLOCK if landlock.version() else NONE


def of_step(action: Action) -> str:
    """Return the kind of isolation for one step. Raises `BadInput` for none where STEP_ISOLATION is `required`.

    A step that starts containers itself runs outside of any sandbox, and its attestation says so.
    """
    if action.on_host:
        return NONE
    if (found := kind()) == NONE and os.environ.get("STEP_ISOLATION") == "required":
        raise BadInput(refusal())
    return found


def shares_memory(action: Action, runtime: str) -> bool:
    """Tell whether a step in this runtime can read the machine's own /dev/shm."""
    return runtime == "host" and of_step(action) != BUBBLEWRAP and not landlock_sandbox.namespaces()


def refusal() -> str:
    """Return the error of a machine that has no isolation where it is required."""
    return f"isolation: required needs bubblewrap or Landlock: {mend()}; or set isolation: best"


def mend() -> str:
    """Return the reasons why neither bubblewrap nor Landlock isolates steps here, with the remedy."""
    return f"{bubblewrap.obstacle()} ({landlock.obstacle()})"


def attested(found: str, action: Action) -> str:
    """Return the isolation of a step as its attestation states it."""
    if found != LANDLOCK:
        return found
    return f"landlock abi {landlock.version()}, left open: {landlock_sandbox.left_open(action)}"


def described() -> str:
    """Return the isolation of steps on this machine in words, with the remedy where it is not the best."""
    found = kind()
    if found == BUBBLEWRAP:
        return found
    if found == NONE:
        return f"{UNHELD}: {mend()}"
    mends = bubblewrap.obstacle()
    return f"{LESS}, landlock abi {landlock.version()}: {mends}; left open: {landlock_sandbox.left_open()}"
