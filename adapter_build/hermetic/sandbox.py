"""Layout of a step's sandbox: the files that it sees, at the same paths in every runtime that can hide the rest."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from adapter_build import ROOT
from adapter_build.core.faults import BadInput
from adapter_build.core.pip import pip_settings, wheel_folders
from adapter_build.hermetic.access import READ, Reader, mode_of
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.closure import closure
from adapter_build.hermetic.variables import certificates, step_variables

WORK = Path("/checkout")  # the checkout, with declared files alone
OUT = Path("/out")
SCRATCH = Path("/scratch")
KEPT = Path("/kept")
HOME = Path("/home/step")
SECRETS = Path("/run/secrets")


@dataclass(frozen=True)
class Mount:
    """A file or folder of the machine, and its path in the sandbox."""

    source: Path
    target: Path
    writable: bool = False


def mounts(action: Action, attempt: Attempt) -> list[Mount]:
    """Return the mounts of a step: its inputs, its script with every module of ours in it, and its writable folders."""
    found = {Path(os.path.normpath(WORK / path)): path for paths in action.inputs.values() for path in paths}
    found |= {WORK / path.relative_to(ROOT): path for path in closure(action.script)}
    if action.network:
        found |= {Path(folder): Path(folder) for folder in wheel_folders(pip_settings(sys.executable))}
        if bundle := certificates():
            found[bundle] = bundle
    if attempt.secrets:
        found[SECRETS] = attempt.secrets
    return [
        *(Mount(source.resolve(), target) for target, source in sorted(found.items())),
        Mount(attempt.out, OUT, writable=True),
        Mount(attempt.scratch, SCRATCH, writable=True),
        *([Mount(attempt.kept, KEPT, writable=True)] if attempt.kept else []),
    ]


def check_readable(found: Iterable[Mount], reader: Reader) -> None:
    """Raise `BadInput` for a file that the sandbox's user may not read, though root outside of it may."""
    for mount in found:
        if not mount.writable and not reader.may(mount.source, READ):
            raise BadInput(
                f"{mount.source}: not readable for the step, which runs as uid {reader.uid} with no power over others' "
                f"files ({mode_of(mount.source)}): chmod o+r {quote(str(mount.source))}"
            )


def environment(action: Action, attempt: Attempt, path: str) -> dict[str, str]:
    """Return the variables of a step in the sandbox. `path` is its PATH."""
    return step_variables(action, path, HOME, SCRATCH, SECRETS if attempt.secrets else None)


def command(action: Action, python: str | Path) -> list[str]:
    """Return the step's command line in the sandbox."""
    script = action.script.resolve().relative_to(ROOT)
    return [str(python), str(script), *action.arguments(OUT, KEPT)]
