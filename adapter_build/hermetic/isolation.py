"""The hold of the runtime `host` on a step: bubblewrap's, else Landlock's, else none; and its words for each."""

import os

from adapter_build.core.faults import BadInput
from adapter_build.hermetic import bubblewrap, landlock, landlock_sandbox
from adapter_build.hermetic.action import Action

BUBBLEWRAP, LANDLOCK, NONE = "bubblewrap", "landlock", "none"
UNHELD = "no isolation"  # nothing keeps a step from files and the network that it did not declare
LESS = "less isolation"


def kind() -> str:
    """Return what holds steps on this machine."""
    if bubblewrap.works():
        return BUBBLEWRAP
    return LANDLOCK if landlock.version() else NONE


def of_step(action: Action) -> str:
    """Return the kind for one step, and refuse none where STEP_ISOLATION is `required`.

    A step that starts containers itself runs outside of any sandbox, and its attestation says so.
    """
    if action.on_host:
        return NONE
    if (found := kind()) == NONE and os.environ.get("STEP_ISOLATION") == "required":
        raise BadInput(refusal())
    return found


def shares_memory(action: Action, runtime: str) -> bool:
    """Tell whether a step of that runtime can look into the machine's own /dev/shm."""
    return runtime == "host" and of_step(action) != BUBBLEWRAP and not landlock_sandbox.namespaces()


def refusal() -> str:
    """Return the refusal of a machine that holds steps to nothing."""
    return f"isolation: required, but nothing here holds steps to what they declare: {mend()}; or set isolation: best"


def mend() -> str:
    """Return why bubblewrap does not hold steps here, with what mends it, and why Landlock does not either."""
    return f"{bubblewrap.obstacle()} ({landlock.obstacle()})"


def attested(found: str, action: Action) -> str:
    """Return what an attestation says of a step that was held so."""
    if found != LANDLOCK:
        return found
    return f"landlock abi {landlock.version()}, left open: {landlock_sandbox.left_open(action)}"


def described() -> str:
    """Return in words how steps are held on this machine, and if it is less than it might be, what would mend that."""
    found = kind()
    if found == BUBBLEWRAP:
        return found
    if found == NONE:
        return f"{UNHELD}: {mend()}"
    mends = bubblewrap.obstacle()
    return f"{LESS}, landlock abi {landlock.version()}: {mends}; left open: {landlock_sandbox.left_open()}"
