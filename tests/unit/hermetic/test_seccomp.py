"""The filter of system calls, for both architectures, run call by call by a small machine of the kernel's kind."""

import re
import struct
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapter_build.hermetic import seccomp

ALLOWED, KILLED, EPERM, ENOSYS = "allowed", "killed", "errno 1", "errno 38"
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def verdict(program: bytes, audit: int, number: int, *arguments: int) -> str:
    """Return what the filter says of a call."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *[*arguments, *[0] * 6][:6])
    lines = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        code, so, not_so, operand = lines[at]
        at += 1
        if code == seccomp.LOAD:
            value = struct.unpack_from("=I", data, operand)[0]
        elif code == seccomp.AND:
            value &= operand
        elif code == seccomp.RETURN:
            if operand == seccomp.ALLOW:
                return ALLOWED
            return KILLED if operand == seccomp.KILL else f"errno {operand & 0xFFFF}"
        else:
            held = {
                seccomp.EQUAL: value == operand, seccomp.AT_LEAST: value >= operand,
                seccomp.ANY_BIT: bool(value & operand),
            }[code]  # fmt: skip
            at += so if held else not_so


@pytest.fixture(params=sorted(seccomp.ARCHITECTURES))
def machine(request):
    return request.param


def judged(machine: str, number: int, *arguments: int, **options) -> str:
    return verdict(
        seccomp.program(machine=machine, **options), seccomp.ARCHITECTURES[machine][0], number, *arguments
    )  # fmt: skip


def test_every_number(machine):
    """Refused by name, unknown, or let through: no number but these."""
    _, column, special, gaps = seccomp.ARCHITECTURES[machine]
    refused = {numbers[column] for numbers in seccomp.REFUSED.values()} - {None}
    program = seccomp.program(machine=machine)
    assert len(program) // 8 <= 4096, "as long as the kernel takes"
    for number in [*range(600), 0x40000000, 0x40000000 + 59, 2**31, 2**32 - 1]:
        said = verdict(program, seccomp.ARCHITECTURES[machine][0], number, 1)
        if number > seccomp.LAST or number == seccomp.CLONE3 or any(a <= number <= b for a, b in gaps):
            assert said == ENOSYS, number
        elif number in refused:
            assert said == EPERM, number
        elif number not in special:
            assert said == ALLOWED, number


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@example(0x40000003, 165)
def test_another_architecture_is_killed(audit, number):
    for machine, (own, *_) in seccomp.ARCHITECTURES.items():
        if audit != own:
            assert verdict(seccomp.program(machine=machine), audit, number) == KILLED


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(0, 2**64 - 1))
@example(0x5412)
@example(0x100005412)
@example(0x7E020000)
def test_arguments(value):
    """The kernel looks at the lower half of these; so does the filter."""
    low = value & 0xFFFFFFFF
    for machine, (_, _, (clone, ioctl, personality, socket), _) in seccomp.ARCHITECTURES.items():
        assert judged(machine, clone, value) == (EPERM if low & seccomp.NAMESPACES else ALLOWED)
        assert judged(machine, ioctl, 0, value) == (EPERM if low in seccomp.TERMINAL_INPUT else ALLOWED)
        assert judged(machine, personality, value) == (ALLOWED if low in seccomp.PERSONALITIES else EPERM)
        assert judged(machine, socket, value) == (ALLOWED if low in seccomp.FAMILIES else "errno 97")


def test_sockets_as_far_as_they_are_declared(machine):
    socket = seccomp.ARCHITECTURES[machine][2][3]
    for family in seccomp.FAMILIES:
        none = judged(machine, socket, family, 1, families=())
        assert none == ("errno 101" if family in seccomp.INTERNET else "errno 13")
        assert judged(machine, socket, family, 1, families=(family,)) == ALLOWED
        for kind in (2, 3, 0x80002, 0x802):
            said = judged(machine, socket, family, kind, streams_only=True)
            assert said == ("errno 101" if family in seccomp.INTERNET else ALLOWED)
        assert judged(machine, socket, family, 0x80801, streams_only=True) == ALLOWED


def test_the_numbers_are_the_kernels(machine):
    """As its own headers have them, where those are installed."""
    header = HEADERS[machine]
    if not header.is_file():
        pytest.skip("needs the kernel's headers: apt-get install linux-libc-dev")
    known = {name: int(number) for name, number in re.findall(r"^#define __NR_(\w+)\s+(\d+)", header.read_text(), re.M)}
    column = seccomp.ARCHITECTURES[machine][1]
    compared = {name: numbers[column] for name, numbers in seccomp.REFUSED.items() if name in known}
    assert len(compared) > 40 and compared == {name: known[name] for name in compared}
    special = dict(zip(("clone", "ioctl", "personality", "socket"), seccomp.ARCHITECTURES[machine][2], strict=True))
    assert special == {name: known[name] for name in special}
    forgotten = {name for name in known if name in seccomp.REFUSED and seccomp.REFUSED[name][column] is None}
    assert not forgotten
