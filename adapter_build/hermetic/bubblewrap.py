"""bubblewrap: a sandbox of namespaces that shows a step its venv and its declared files, without a container engine."""

import contextlib
import functools
import os
import shutil
import subprocess
from pathlib import Path

from adapter_build.hermetic.access import own_reader
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.devices import device_files
from adapter_build.hermetic.sandbox import HOME, WORK, check_readable, mounts
from adapter_build.hermetic.sandbox import command as script_command
from adapter_build.hermetic.seccomp import program, supported

# The parts of the system that a program of the venv needs: libraries, and user names for programs that ask for them.
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
# Read-only, as in runc's containers.
KERNEL_SETTINGS = ("/proc/acpi", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/mtrr", "/proc/sys", "/proc/sysrq-trigger")
PROCESSORS = "/sys/devices/system"
NAMESPACES = ("--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try")
USERS = "--unshare-user"
HOSTNAME = "hermetic-step"
# The filter of system calls comes as an open file, which srun and others between us and bubblewrap would close.
WITH_FILTER = ("/bin/sh", "-c", 'exec 9<"$0" && exec bwrap --seccomp 9 "$@"')
SECONDS_TO_TRY = 20
# A setting that forbids namespaces: its file, the value that forbids them, the command that allows them.
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
    """Return the reason why bubblewrap cannot run steps here, and what mends it; empty where it can.

    Some systems forbid namespaces to ordinary users: Ubuntu by AppArmor, others by a limit, containers by seccomp.
    """
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed: apt install bubblewrap"
    try:
        said = _tried(USERS)
        if said and not os.geteuid():
            said = _tried()
    except OSError as error:
        return f"bubblewrap does not run ({error.strerror}): reinstall it"
    except subprocess.TimeoutExpired:
        return "bubblewrap does not run (it hangs): reinstall it"
    return f"bubblewrap may not make namespaces ({said}): {_mend()}" if said else ""


@functools.cache
def _with_users() -> bool:
    """Tell whether to make a user namespace too; only root can do without one, where the system forbids it."""
    return bool(os.geteuid()) or not _tried(USERS)


def _tried(*more: str) -> str:
    """Return the error of bubblewrap when it makes namespaces; empty where it succeeds."""
    words = ["bwrap", *more, *NAMESPACES, "--unshare-net", "--cap-drop", "ALL", "--ro-bind", "/", "/"]
    done = subprocess.run(
        [*words, "--proc", "/proc", "--dev", "/dev", "true"],
        capture_output=True, check=False, timeout=SECONDS_TO_TRY, errors="replace", text=True,
    )  # fmt: skip
    if not done.returncode:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].removeprefix("bwrap: ")


def works() -> bool:
    """Tell whether bubblewrap is here and may make namespaces."""
    return not obstacle()


def _mend() -> str:
    """Return the command that allows namespaces on this machine; a general hint where no known setting forbids them."""
    for path, forbids, command in FORBIDDING:
        with contextlib.suppress(OSError):
            if Path(path).read_text().strip() == forbids:
                return command
    return "let this machine, or the container that the build runs in, make user namespaces"


def command(action: Action, attempt: Attempt, python: Path) -> list[str]:
    """Return the command line: the mounts, and the script. Variables are inherited, so that no process list shows them.

    All capabilities are dropped: started by root, bubblewrap would keep them, and a step could remount /usr writable.
    Raises `BadInput` for a file that the step could not read.
    """
    shown = mounts(action, attempt)
    check_readable(shown, own_reader())
    words = ["bwrap"]
    if supported():
        (attempt.root / "seccomp.bpf").write_bytes(program())
        words = [*WITH_FILTER, str(attempt.root / "seccomp.bpf")]
    words += [USERS] if _with_users() else []
    words += [*NAMESPACES, "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    # With the network a step keeps the machine's own name, by which others know it and libraries look it up.
    words += [] if action.network else ["--unshare-net", "--hostname", HOSTNAME]
    # First, so that a checkout or a Python that lies below /tmp is not hidden by it.
    words += ["--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", str(HOME)]
    for path in system(python, network=action.network):
        # A link, as /bin is to /usr/bin, stays one.
        words += (
            ["--symlink", str(Path(path).readlink()), path] if Path(path).is_symlink() else ["--ro-bind", path, path]
        )
    words += ["--dev", "/dev"]
    for path in device_files() if action.devices else ():  # not all of /dev: to root's number disks would be writable
        words += ["--dev-bind", path, path]
    # The list of processors, which programs read to pin their threads.
    shown_of_system = "/sys" if action.devices else PROCESSORS
    words += ["--ro-bind", shown_of_system, shown_of_system]
    for mount in shown:
        words += ["--bind" if mount.writable else "--ro-bind", str(mount.source), str(mount.target)]
    # The kernel's settings would be writable for uid 0, capabilities or not. CUDA names its threads in /proc, and
    # does not start where it cannot (error 304): it gets all of /proc but the settings.
    settings = [path for path in KERNEL_SETTINGS if Path(path).exists()] if action.devices else []
    for path in settings:
        words += ["--ro-bind", path, path]
    words += [] if action.devices else ["--remount-ro", "/proc"]
    return [*words, "--remount-ro", "/", "--chdir", str(WORK), *script_command(action, python)]


def system(python: Path, network: bool) -> list[str]:
    """Return the paths of the system's folders, the venv, and the Python that the venv was made from."""
    wanted = [*SYSTEM, *SETTINGS, *(SETTINGS_WITH_NETWORK if network else ()), str(python.parents[1])]
    base = python.resolve().parents[1]
    if not base.is_relative_to("/usr"):
        wanted.append(str(base))
    return [path for path in wanted if Path(path).exists()]
