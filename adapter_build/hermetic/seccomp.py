"""The system calls that a step may make: a seccomp filter in the kernel's own machine code, for x86-64 and ARM64.

Source: Docker's default profile (github.com/moby/profiles, seccomp/default.json of 2026-06) for a container without
capabilities. That profile allows by name; this module lists the numbers that it does not allow, and answers a number
that it does not know, as of a later kernel, with "not implemented". It is stricter than Docker's in four places: only
the native architecture (32-bit programs are killed, x32 is refused), no ptrace and no reading of other processes'
memory, no modify_ldt, and only the four socket families that steps use. TIOCSTI and TIOCLINUX, which type into a
terminal, are refused, as users of bubblewrap must do.
"""

import platform
import struct
from collections.abc import Iterable, Iterator

EPERM, EACCES, ENOSYS, EAFNOSUPPORT, ENETUNREACH = 1, 13, 38, 97, 101
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in seccomp_data
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
INTERNET = (AF_INET, AF_INET6)
FAMILIES = (AF_UNIX, *INTERNET, AF_NETLINK)
SOCK_STREAM, SOCKET_KIND = 1, 0xF
NAMESPACES = 0x7E020000  # CLONE_NEW* of clone(2)
PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
LAST = 466  # removexattrat, of Linux 6.13
REFUSED_EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "process_madvise": 440,
    "mount_setattr": 442, "quotactl_fd": 443, "set_mempolicy_home_node": 450, "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460, "lsm_list_modules": 461,
}  # fmt: skip
# By name: the number on x86-64 and on ARM64; None where the architecture lacks the call.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "_sysctl": (156, None), "acct": (163, 89), "add_key": (248, 217), "afs_syscall": (183, None), "bpf": (321, 280),
    "chroot": (161, 51), "clock_settime": (227, 112), "create_module": (174, None), "delete_module": (176, 106),
    "fanotify_init": (300, 262), "finit_module": (313, 273), "get_kernel_syms": (177, None),
    "get_mempolicy": (239, 236), "getpmsg": (181, None), "init_module": (175, 105), "ioperm": (173, None),
    "iopl": (172, None), "kcmp": (312, 272), "kexec_file_load": (320, 294), "kexec_load": (246, 104),
    "keyctl": (250, 219), "lookup_dcookie": (212, 18), "mbind": (237, 235), "migrate_pages": (256, 238),
    "modify_ldt": (154, None), "mount": (165, 40), "move_pages": (279, 239), "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265), "perf_event_open": (298, 241), "pivot_root": (155, 41),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117), "putpmsg": (182, None),
    "query_module": (178, None), "quotactl": (179, 60), "reboot": (169, 142), "request_key": (249, 218),
    "security": (185, None), "set_mempolicy": (238, 237), "setdomainname": (171, 162), "sethostname": (170, 161),
    "setns": (308, 268), "settimeofday": (164, 170), "swapoff": (168, 225), "swapon": (167, 224), "sysfs": (139, None),
    "syslog": (103, 116), "tuxcall": (184, None), "umount2": (166, 39), "unshare": (272, 97), "uselib": (134, None),
    "userfaultfd": (323, 282), "ustat": (136, None), "vhangup": (153, 58), "vserver": (236, None),
    **{name: (number, number) for name, number in REFUSED_EVERYWHERE.items()},
}  # fmt: skip
CLONE3 = 435
# AUDIT_ARCH_*; the column above; clone, ioctl, personality, socket; numbers that stand for nothing.
ARCHITECTURES = {
    "x86_64": (0xC000003E, 0, (56, 16, 135, 41), ((335, 423),)),
    "aarch64": (0xC00000B7, 1, (220, 29, 92, 198), ((244, 259), (295, 423))),
}


def supported() -> bool:
    """Tell whether there is a filter for this machine's architecture."""
    return platform.machine() in ARCHITECTURES


def program(families: Iterable[int] = FAMILIES, streams_only: bool = False, machine: str = "") -> bytes:
    """Return the filter as BPF instructions of 8 bytes each.

    It allows sockets of `families`; of the internet's families only TCP if `streams_only`. `machine` is the
    architecture, by default this machine's.
    """
    return b"".join(struct.pack("=HBBI", *line) for line in _lines(families, streams_only, machine))


def _lines(families: Iterable[int], streams_only: bool, machine: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield instructions: operation, jump if true, jump if false, operand. Every jump fits into a byte."""
    audit, column, (clone, ioctl, personality, socket), gaps = ARCHITECTURES[machine or platform.machine()]
    yield LOAD, 0, 0, ARCHITECTURE
    yield EQUAL, 1, 0, audit
    yield RETURN, 0, 0, KILL
    yield LOAD, 0, 0, NUMBER
    for first, last in (*gaps, (LAST + 1, 2**32 - 1)):  # x32's numbers begin at 2^30
        yield AT_LEAST, 0, 2 if last < 2**32 - 1 else 1, first
        if last < 2**32 - 1:
            yield AT_LEAST, 1, 0, last + 1
        yield RETURN, 0, 0, ERRNO | ENOSYS
    yield from _if_equal(CLONE3, ENOSYS)  # its flags lie in memory, which no filter can read: glibc falls back to clone
    for number in sorted(filter(None, (numbers[column] for numbers in REFUSED.values()))):
        yield from _if_equal(number, EPERM)
    yield EQUAL, 0, 4, clone
    yield LOAD, 0, 0, ARGUMENTS
    yield ANY_BIT, 0, 1, NAMESPACES
    yield RETURN, 0, 0, ERRNO | EPERM
    yield RETURN, 0, 0, ALLOW
    yield EQUAL, 0, 2 + 2 * len(TERMINAL_INPUT), ioctl
    yield LOAD, 0, 0, ARGUMENTS + 8  # the lower half: the kernel looks at no more of it
    for request in TERMINAL_INPUT:
        yield from _if_equal(request, EPERM)
    yield RETURN, 0, 0, ALLOW
    yield EQUAL, 0, 2 + 2 * len(PERSONALITIES), personality
    yield LOAD, 0, 0, ARGUMENTS
    for value in PERSONALITIES:
        yield EQUAL, 0, 1, value
        yield RETURN, 0, 0, ALLOW
    yield RETURN, 0, 0, ERRNO | EPERM
    yield EQUAL, 1, 0, socket
    yield RETURN, 0, 0, ALLOW
    yield LOAD, 0, 0, ARGUMENTS
    allowed = set(families)
    for family in FAMILIES:
        if family not in allowed:
            yield from _if_equal(family, ENETUNREACH if family in INTERNET else EACCES)
        elif family in INTERNET and streams_only:
            yield EQUAL, 0, 5, family
            yield LOAD, 0, 0, ARGUMENTS + 8
            yield AND, 0, 0, SOCKET_KIND
            yield EQUAL, 0, 1, SOCK_STREAM
            yield RETURN, 0, 0, ALLOW
            yield RETURN, 0, 0, ERRNO | ENETUNREACH
        else:
            yield EQUAL, 0, 1, family
            yield RETURN, 0, 0, ALLOW
    yield RETURN, 0, 0, ERRNO | EAFNOSUPPORT


def _if_equal(value: int, error: int) -> Iterator[tuple[int, int, int, int]]:
    yield EQUAL, 0, 1, value
    yield RETURN, 0, 0, ERRNO | error
