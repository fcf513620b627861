"""Why a step failed in its sandbox: what it reached for and had not declared, and the option that declares it."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from adapter_build.hermetic.action import Action
from adapter_build.hermetic.sandbox import OUT, SCRATCH, WORK

MISSING = re.compile(r"No such file or directory: '([^']+)'|^(?:error: )?(\S+): no such file")
READ_ONLY = re.compile(r"Read-only file system: '([^']+)'")
NETWORK = re.compile(
    r"Network is unreachable|Name or service not known|Temporary failure in name resolution|Cannot assign requested",
)
VARIABLE = re.compile(r"KeyError: '([A-Z][A-Z0-9_]+)'|secret ([A-Z][A-Z0-9_]+): not given")
# Landlock's word for what a sandbox would not show; it tells reading from writing as little as a mode does.
DENIED = re.compile(r"Permission denied: '([^']+)'")


def undeclared(lines: Sequence[str], action: Action) -> str | None:
    """Return what the last lines of a failed step show that it had not declared, or None."""
    for line in reversed(lines):
        if found := VARIABLE.search(line):
            name = found[1] or found[2]
            if name in os.environ and name not in action.secrets:
                return f"it reads {name}, which it does not declare: add --secret {name} to its rule"
        if found := READ_ONLY.search(line):
            return f"it writes {_shown(found[1])}, which is no output of its: add --output NAME {_shown(found[1])}"
        if (found := DENIED.search(line)) and (hint := _denied(found[1], action)):
            return hint
        if (found := MISSING.search(line)) and (hint := _input(_shown(found[1] or found[2]), action)):
            return hint
        if NETWORK.search(line) and not action.network:
            return "it opens a connection, but declares no network: add --network to its rule"
    return None


def _denied(path: str, action: Action) -> str | None:
    """Return the declaration that lacks of a file that a step may not open, though this user may."""
    name = os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
    if hint := _input(name, action) if os.access(name, os.R_OK) else None:
        return hint + (f"; or, where it writes it, --output NAME {name}" if os.access(name, os.W_OK) else "")
    if Path(name).exists() or not os.access(Path(name).parent, os.W_OK):
        return None
    return f"it writes {name}, which is no output of its: add --output NAME {name} to its rule"


def _shown(path: str) -> str:
    """Return a path of the sandbox as the rules name it."""
    for root in (WORK, OUT):
        if Path(path).is_relative_to(root):
            return str(Path(path).relative_to(root))
    return path


def _input(path: str, action: Action) -> str | None:
    declared = {str(file) for files in (*action.inputs.values(), *action.outputs.values()) for file in files}
    if path in declared or Path(path).is_relative_to(SCRATCH) or not Path(path).exists():
        return None
    return f"it reads {path}, which it does not declare: add --input NAME {path} to its rule"
