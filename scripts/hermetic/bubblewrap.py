"""bubblewrap: the step's venv and its declared files in namespaces of their own, without a container engine."""

import contextlib
import functools
import os
import shutil
import subprocess
from pathlib import Path

from hermetic.access import Reader
from hermetic.action import Action
from hermetic.attempt import Attempt
from hermetic.sandbox import HOME, WORK, check_readable, mounts
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
SECONDS_TO_TRY = 20
# Where a system keeps the setting that forbids namespaces, the value that does, and what mends it.
FORBIDDING = (
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
        "give bwrap an AppArmor profile, or sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"),
)  # fmt: skip


@functools.cache
def obstacle() -> str:
    """Return why steps cannot be put into bubblewrap here, and what mends it; empty where they can.

    Some systems forbid namespaces to ordinary users: Ubuntu by AppArmor, others by a limit, containers by seccomp.
    """
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed: apt install bubblewrap"
    probe = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    try:
        done = subprocess.run(
            probe, capture_output=True, check=False, timeout=SECONDS_TO_TRY, errors="replace", text=True
        )
    except OSError as error:
        return f"bubblewrap does not run ({error.strerror}): reinstall it"
    except subprocess.TimeoutExpired:
        return "bubblewrap does not run (it hangs): reinstall it"
    if not done.returncode:
        return ""
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].removeprefix("bwrap: ")
    return f"bubblewrap may not make namespaces ({said}): {_mend()}"


def works() -> bool:
    """Tell whether bubblewrap is here and may make namespaces."""
    return not obstacle()


def _mend() -> str:
    """Return the setting of this machine that forbids namespaces, as a command; else what usually does."""
    for path, forbids, command in FORBIDDING:
        with contextlib.suppress(OSError):
            if Path(path).read_text().strip() == forbids:
                return command
    return "let this machine, or the container that the build runs in, make user namespaces"


def command(action: Action, place: Attempt, python: Path) -> list[str]:
    """Return the command line: what is seen, and the script. Variables are inherited, not shown to a process list."""
    shown = mounts(action, place)
    check_readable(shown, Reader(os.geteuid(), frozenset([os.getegid(), *os.getgroups()])))
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
    for mount in shown:
        words += ["--bind" if mount.writable else "--ro-bind", str(mount.source), str(mount.target)]
    return [*words, "--remount-ro", "/", "--chdir", str(WORK), *script_command(action, python)]


def _system(python: Path, network: bool) -> list[str]:
    """Return the system's folders, the venv, and the Python that the venv was made from."""
    wanted = [*SYSTEM, *SETTINGS, *(SETTINGS_WITH_NETWORK if network else ()), str(python.parents[1])]
    base = python.resolve().parents[1]
    if not base.is_relative_to("/usr"):
        wanted.append(str(base))
    return [path for path in wanted if Path(path).exists()]
