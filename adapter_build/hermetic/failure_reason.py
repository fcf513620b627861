"""Reasons why a step failed that only its runner knows: an undeclared file, variable or network, or a full disk."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from adapter_build.core.file_systems import SPARE, free_bytes, why_full
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.sandbox import OUT, SCRATCH, WORK

MISSING = re.compile(r"No such file or directory: '([^']+)'|^(?:error: )?(\S+): no such file")
READ_ONLY = re.compile(r"Read-only file system: '([^']+)'")
NETWORK = re.compile(
    r"Network is unreachable|Name or service not known|Temporary failure in name resolution|Cannot assign requested",
)
VARIABLE = re.compile(r"KeyError: '([A-Z][A-Z0-9_]+)'|secret ([A-Z][A-Z0-9_]+): not given")
# Landlock's error for a file that a mount sandbox would not show; it does not tell reading from writing.
DENIED = re.compile(r"Permission denied: '([^']+)'")
FULL_DISK = re.compile("No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing")


def undeclared(lines: Sequence[str], action: Action) -> str | None:
    """Return the declaration that the last lines of a failed step show to be missing from its rule, or None."""
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


def full_disk(attempt: Attempt, lines: Iterable[str], stated: bool) -> str | None:
    """Return a line that names the full file system that a failed step writes to; None if none is full.

    `lines` are the last of its log: a library may report a full disk in words of its own. A step that has `stated` its
    reason is believed.
    """
    written = [path for path in (attempt.root, attempt.kept) if path and path.exists()]
    lacking = any(FULL_DISK.search(line) for line in lines) or (
        not stated and any(free_bytes(path) < SPARE for path in written)
    )
    return f"No space left on device: {why_full(written)}" if lacking else None


def _denied(path: str, action: Action) -> str | None:
    """Return the missing declaration of a file that a step may not open, though this user may; else None."""
    name = os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
    if hint := _input(name, action) if os.access(name, os.R_OK) else None:
        return hint + (f"; or, where it writes it, --output NAME {name}" if os.access(name, os.W_OK) else "")
    if Path(name).exists() or not os.access(Path(name).parent, os.W_OK):
        return None
    return f"it writes {name}, which is no output of its: add --output NAME {name} to its rule"


def _shown(path: str) -> str:
    """Return a path inside the sandbox as the rules name it."""
    for root in (WORK, OUT):
        if Path(path).is_relative_to(root):
            return str(Path(path).relative_to(root))
    return path


def _input(path: str, action: Action) -> str | None:
    declared = {str(file) for files in (*action.inputs.values(), *action.outputs.values()) for file in files}
    if path in declared or Path(path).is_relative_to(SCRATCH) or not Path(path).exists():
        return None
    return f"it reads {path}, which it does not declare: add --input NAME {path} to its rule"
