"""Confine this process by Landlock and seccomp, then become the step's command.

    python -I -S adapter_build/hermetic/confine.py PLAN COMMAND...
    python -I -S adapter_build/hermetic/confine.py --namespaces

PLAN is a JSON file: `rules` (path, rights), `families` of sockets, `streams_only`, `tcp`, `namespaces`, `own_network`.
The second form ends with 0 where a step can have namespaces of its own. This program runs before a step's interpreter,
in any of the environments, and so needs nothing but Python's own library.
"""

import ctypes
import json
import os
import signal
import socket
import struct
import sys
from fcntl import ioctl
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from adapter_build.hermetic import landlock, seccomp

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 28, 38
SECCOMP_MODE_FILTER = 2
NO_POWER_OF_ROOT = 0x2F  # SECBIT_NOROOT, NO_SETUID_FIXUP and KEEP_CAPS off, all locked
CAPABILITY_VERSION = 0x20080522
NEW_USER, NEW_NETWORK, NEW_IPC, NEW_MOUNTS, NEW_NAME = 0x10000000, 0x40000000, 0x08000000, 0x00020000, 0x04000000
HOSTNAME = "hermetic-step"
PRIVATE_BELOW, NO_SUID_NO_DEVICES = 0x44000, 0x6  # MS_REC | MS_PRIVATE; MS_NOSUID | MS_NODEV
SHARED_MEMORY = "/dev/shm"
GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 0x1
LIBRARY = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Confine this process and execute the command, or print one line with the reason why not."""
    if sys.argv[1:] == ["--namespaces"]:
        separate(own_network=True)
        return
    plan = json.loads(Path(sys.argv[1]).read_text())
    try:
        confine(plan, os.getppid())
        os.execv(sys.argv[2], sys.argv[2:])
    except OSError as error:
        print(f"error: the step cannot be confined: {error.strerror}: install bubblewrap", file=sys.stderr)
        sys.exit(2)


def confine(plan: dict[str, Any], parent: int) -> None:
    """Drop this process's rights, from the widest to the narrowest. Raises `OSError`."""
    if plan["namespaces"]:
        separate(plan["own_network"])
    _drop_capabilities()
    _checked(LIBRARY.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # After namespaces and capabilities: a change of either clears it.
    _checked(LIBRARY.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        raise OSError(0, "its runner has ended")
    landlock.restrict(plan["rules"], plan["tcp"])
    if seccomp.supported():
        code = seccomp.program(plan["families"], plan["streams_only"])
        held = ctypes.create_string_buffer(code, len(code))
        filters = struct.pack("@HP", len(code) // 8, ctypes.addressof(held))
        _checked(LIBRARY.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters, 0, 0))


def separate(own_network: bool) -> None:
    """Enter new namespaces: of messages and shared memory, and with `own_network` of a network with loopback alone."""
    uid, gid = os.geteuid(), os.getegid()
    wanted = NEW_IPC | NEW_MOUNTS | (NEW_NETWORK | NEW_NAME if own_network else 0) | (NEW_USER if uid else 0)
    _checked(LIBRARY.unshare(wanted))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _checked(LIBRARY.mount(None, b"/", None, PRIVATE_BELOW, None))
    if Path(SHARED_MEMORY).is_dir():
        _checked(LIBRARY.mount(b"tmpfs", SHARED_MEMORY.encode(), b"tmpfs", NO_SUID_NO_DEVICES, b"mode=1777"))
    if own_network:
        socket.sethostname(HOSTNAME)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            name = b"lo".ljust(16, b"\0")
            flags = struct.unpack("H", ioctl(any_socket, GET_FLAGS, name + bytes(16))[16:18])[0]
            ioctl(any_socket, SET_FLAGS, name + struct.pack("H", flags | UP).ljust(16, b"\0"))


def _drop_capabilities() -> None:
    """Drop every capability for good: root keeps its uid and none of its power."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        LIBRARY.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for an ordinary user, who has none to drop
    LIBRARY.prctl(PR_SET_SECUREBITS, NO_POWER_OF_ROOT, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION, 0), 8)
    _checked(LIBRARY.capset(header, ctypes.create_string_buffer(24)))


def _checked(result: int) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


if __name__ == "__main__":
    main()
