"""Landlock sandbox: a step in its venv without bubblewrap, under Landlock and seccomp, in namespaces where possible.

The step sees the machine's own paths. It reads its declared inputs, its scripts, its environment and the system's
libraries, writes in its attempt alone, and has the sockets that its rule declares.
"""

import contextlib
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

from adapter_build import ROOT
from adapter_build.hermetic import landlock
from adapter_build.hermetic.access import own_reader
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.bubblewrap import PROCESSORS, system
from adapter_build.hermetic.closure import closure
from adapter_build.hermetic.devices import device_files
from adapter_build.hermetic.sandbox import check_readable, mounts
from adapter_build.hermetic.seccomp import AF_NETLINK, AF_UNIX, INTERNET, supported

LAUNCHER = Path(__file__).with_name("confine.py")
SECONDS_TO_TRY = 20
# Files that a library ignores if they are missing, but fails on if it may not read them.
ASKED_FOR = (
    "/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/nsswitch.conf", "/etc/os-release", "/etc/mime.types",
    "/etc/localtime", "/etc/ssl/openssl.cnf",
)  # fmt: skip
ALWAYS = (
    "names of files and other programs' command lines are seen, modes and times of the user's own files can be changed"
)
HARMLESS_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@functools.cache
def namespaces() -> bool:
    """Tell whether a step can have namespaces of network, messages and shared memory here."""
    probe = [sys.executable, "-I", "-S", str(LAUNCHER), "--namespaces"]
    try:
        done = subprocess.run(probe, capture_output=True, check=False, timeout=SECONDS_TO_TRY)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return not done.returncode


def left_open(action: Action | None = None) -> str:
    """Return the gaps of this sandbox in words, for one step or any; names, sizes and times of files always show."""
    found = [ALWAYS, *landlock.left_open(landlock.version())]
    found += [] if supported() else ["system calls and the network are not held on this architecture"]
    found += [] if namespaces() else ["/dev/shm is shared"]
    if action is None or speaks_locally(action):
        which = "" if action else "of steps that serve: "
        found.append(f"{which}other programs' sockets{'' if namespaces() or not supported() else ', TCP'}")
    return ", ".join(found)


def speaks_locally(action: Action) -> bool:
    """Tell whether the processes of a step communicate by sockets."""
    return action.loopback or action.devices > 0 or action.nodes > 1


@contextlib.contextmanager
def sockets(action: Action) -> Generator[Path | None]:
    """Yield a private folder with a short path for the sockets of a step; None for a step that uses none."""
    if not speaks_locally(action):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="step-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def command(action: Action, attempt: Attempt, python: Path, sockets: Path | None = None) -> list[str]:
    """Return the command line. The plan for confine.py is written to the attempt, where the step cannot see it.

    Raises `BadInput` for a file that the step could not read.
    """
    shown = mounts(action, attempt)
    check_readable(shown, own_reader())
    own_network = namespaces() and not action.network
    internet = INTERNET if own_network or action.network or speaks_locally(action) else ()
    plan = {
        "rules": [*_rules(action, attempt, python), *([(str(sockets), landlock.ALL)] if sockets else [])],
        "families": [AF_NETLINK, *internet, *((AF_UNIX,) if speaks_locally(action) else ())],
        "streams_only": not (own_network or action.network),
        "tcp": bool(internet),
        "namespaces": namespaces() and action.nodes == 1,
        "own_network": own_network,
    }
    (attempt.root / "confinement.json").write_text(json.dumps(plan))
    start = [str(python), "-I", "-S", str(LAUNCHER), str(attempt.root / "confinement.json")]
    return [*start, str(python), str(action.script.absolute()), *action.arguments(attempt.out, attempt.kept)]


def _rules(action: Action, attempt: Attempt, python: Path) -> Iterator[tuple[str, int]]:
    """Yield the Landlock rules: (path, rights)."""
    # Gloo, which connects processes, lists the machine's buses.
    machine = "/sys" if speaks_locally(action) else PROCESSORS
    yield from ((path, landlock.RUN) for path in system(python, action.network))
    yield from ((path, landlock.READ) for path in (*ASKED_FOR, "/proc", machine))
    yield from ((path, landlock.READ_FILE | landlock.WRITE_FILE) for path in HARMLESS_DEVICES)
    if action.devices:
        yield from ((path, landlock.ALL & ~landlock.EXECUTE) for path in device_files())
        # CUDA names its threads there, and does not start where it cannot: error 304.
        yield "/proc/self/task", landlock.READ | landlock.WRITE_FILE | landlock.TRUNCATE
    yield "/dev/shm", landlock.ALL & ~landlock.EXECUTE
    for mount in mounts(action, attempt):
        yield str(mount.source), landlock.ALL if mount.writable else landlock.READ
    # Python lists the folders that it imports from, libraries those of a model's files.
    read = {path.resolve().parent for paths in action.inputs.values() for path in paths}
    for folder in read | {path.parent for path in closure(action.script)} | {ROOT}:
        yield str(folder), landlock.READ_DIR
