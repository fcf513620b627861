"""A step that tries each attempt in a child, and writes down how it ended."""

import argparse
import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import platform
import signal
import socket  # noqa: F401 - for attempts, as the next three
import struct  # noqa: F401
import subprocess  # noqa: F401
import sys  # noqa: F401

import find_package  # noqa: F401
from adapter_build.hermetic.seccomp import ARCHITECTURES, REFUSED

parser = argparse.ArgumentParser()
for name in ("tried", "told", "runner", "open", "folder"):
    parser.add_argument(f"--{name}")
arguments = parser.parse_args()
tried, runner, folder = pathlib.Path(arguments.tried), int(arguments.runner), pathlib.Path(arguments.folder)
library = ctypes.CDLL(None, use_errno=True)


def call(number, *words):
    if isinstance(number, str):
        number = REFUSED[number][ARCHITECTURES[platform.machine()][1]]
    result = library.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def code_of(code):
    global page
    if platform.machine() != "x86_64":
        os.kill(os.getpid(), signal.SIGSYS)
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    return ctypes.addressof(ctypes.c_char.from_buffer(page))


def secrets_of_others():
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found += [path.parent.name] if b"OF_THE_SHELL=" in path.read_bytes() else []
    if not found:
        raise PermissionError("none of them can be read")
    return found


told = {}
for name, code in json.loads(tried.read_text()).items():
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(reading)
        try:
            said = f"done: {eval(compile(code, name, 'eval'))!r}"
        except BaseException as fault:
            said = f"{type(fault).__name__}: {fault}"
        os.write(writing, said.encode(errors="replace")[:1000])
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    told[name] = said or f"ended by signal {os.WTERMSIG(status)}"
pathlib.Path(arguments.told).write_text(json.dumps(told))
