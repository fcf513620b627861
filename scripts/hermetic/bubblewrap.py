"""bubblewrap: the step's venv and its declared files in namespaces of their own, without a container engine."""

import functools
import shutil
import subprocess
from pathlib import Path

from hermetic.action import Action
from hermetic.attempt import Attempt
from hermetic.sandbox import HOME, WORK, mounts
from hermetic.sandbox import command as script_command

# What a program of the venv needs of the system: its libraries, and names of users for what asks.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/passwd",
    "/etc/group",
)
SETTINGS_WITH_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services")
PROCESSORS = "/sys/devices/system"
NAMESPACES = ("user", "ipc", "pid", "uts", "cgroup-try")


@functools.cache
def works() -> bool:
    """Whether bubblewrap is here and may make namespaces; some systems forbid that to ordinary users."""
    if not shutil.which("bwrap"):
        return False
    probe = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def command(action: Action, place: Attempt, python: Path) -> list[str]:
    """Return the command line: what is seen, and the script. Variables are inherited, not shown to a process list."""
    words = ["bwrap", *(f"--unshare-{name}" for name in NAMESPACES), "--die-with-parent", "--new-session"]
    words += [] if action.network else ["--unshare-net"]
    # First, so that a checkout or a Python that lies below /tmp is not hidden by it.
    words += ["--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", str(HOME)]
    for path in _system(python, network=action.network):
        # A link, as /bin is to /usr/bin, stays one.
        words += (
            ["--symlink", str(Path(path).readlink()), path] if Path(path).is_symlink() else ["--ro-bind", path, path]
        )
    words += ["--dev-bind", "/dev", "/dev", "--ro-bind", "/sys", "/sys"] if action.devices else ["--dev", "/dev"]
    # Which processors there are, as programs that place their threads ask.
    words += [] if action.devices else ["--ro-bind", PROCESSORS, PROCESSORS]
    for mount in mounts(action, place):
        words += ["--bind" if mount.writable else "--ro-bind", str(mount.source), str(mount.target)]
    return [*words, "--remount-ro", "/", "--chdir", str(WORK), *script_command(action, python)]


def _system(python: Path, network: bool) -> list[str]:
    """Return the system's folders, the venv, and the Python that the venv was made from."""
    wanted = [*SYSTEM, *SETTINGS, *(SETTINGS_WITH_NETWORK if network else ()), str(python.parents[1])]
    base = python.resolve().parents[1]
    if not base.is_relative_to("/usr"):
        wanted.append(str(base))
    return [path for path in wanted if Path(path).exists()]
