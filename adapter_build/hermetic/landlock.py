"""Landlock: restrict the file access of this process and its children, on machines without bubblewrap.

By raw system calls: no C library wraps them. Each version (ABI) of Landlock restricts more than the one before it;
`left_open` lists the gaps of an older one.
"""

import ctypes
import functools
import os
import platform
import stat
import struct
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
ASK_VERSION, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
TRUNCATE, IOCTL_DEVICE = 1 << 14, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE
READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
ALL = 2**16 - 1
# The file rights that Landlock handles, each with the version that introduced it.
HELD = ((1, 2**13 - 1), (2, 1 << 13), (3, TRUNCATE), (5, IOCTL_DEVICE))
BIND_AND_CONNECT_TCP, SINCE_TCP = 3, 4
ABSTRACT_SOCKETS_AND_SIGNALS, SINCE_SCOPES = 3, 6
LACKS = (
    (3, "files that the user may write can be cut short"),
    (5, "devices that are open can be set"),
    (SINCE_SCOPES, "signals reach the user's other processes"),
)


@functools.cache
def version() -> int:
    """Return the ABI of this kernel's Landlock; 0 where it has none."""
    return max(0, _call(CREATE_RULESET, None, 0, ASK_VERSION))


def obstacle() -> str:
    """Return the reason why Landlock cannot isolate steps here, in words; empty where it can."""
    if version():
        return ""
    system, *numbers = platform.release().split("-")[0].split(".")
    known = system.isdigit() and numbers and numbers[0].isdigit() and (int(system), int(numbers[0])) >= (5, 13)
    return "its Landlock is off: boot it with lsm=landlock,…" if known else "its kernel is older than 5.13"


def left_open(abi: int) -> list[str]:
    """Return the gaps of this version, in words."""
    return [gap for since, gap in LACKS if abi < since]


def restrict(rules: Iterable[tuple[str, int]], tcp: bool) -> None:
    """Allow this process and its children only the rules' (path, rights) access to files, and TCP only if `tcp`.

    A rule for a missing path has no effect. Raises `OSError`.
    """
    abi = version()
    held = sum(rights for since, rights in HELD if abi >= since)
    network = BIND_AND_CONNECT_TCP if abi >= SINCE_TCP and not tcp else 0
    fields = [
        held,
        *([network] if abi >= SINCE_TCP else []),
        *([ABSTRACT_SOCKETS_AND_SIGNALS] if abi >= SINCE_SCOPES else []),
    ]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _checked(CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path, rights in rules:
            try:
                handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:  # missing, or closed to this user: nothing to allow
                continue
            try:
                fitting = rights & held & (ALL if stat.S_ISDIR(os.fstat(handle).st_mode) else OF_FILES)
                if fitting:
                    _checked(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", fitting, handle), 0)
            finally:
                os.close(handle)
        _checked(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in arguments]
    return int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *words))


def _checked(number: int, *arguments: int | bytes | None) -> int:
    result = _call(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result
