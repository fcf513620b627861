"""A file system that answers nothing, as a network's whose server is gone: a real one, of FUSE, that nobody serves."""

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

INIT, FORCE, DETACH = 26, 1, 2
HEAD = struct.Struct("<IIQQ")  # of a request: length, operation, number, node
ANSWER = struct.Struct("<IiQ")
FEATURES = struct.Struct("<IIIIHHIIHHI7I")


@contextlib.contextmanager
def silent(folder: Path) -> Iterator[None]:
    """Mount it at `folder`. Skips where that takes more than this user may do."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"needs /dev/fuse: {error.strerror}")
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"silent", str(folder).encode(), b"fuse", 0, options):
        os.close(device)
        pytest.skip(f"needs the right to mount: {os.strerror(ctypes.get_errno())}")

    def begin() -> None:
        """Agree on a version, which the kernel waits for, and leave every other request without an answer."""
        with contextlib.suppress(OSError):
            while request := os.read(device, 2**17):
                _, operation, number, _ = HEAD.unpack_from(request)
                if operation == INIT:
                    agreed = FEATURES.pack(7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, *[0] * 8)
                    os.write(device, ANSWER.pack(ANSWER.size + len(agreed), 0, number) + agreed)

    threading.Thread(target=begin, daemon=True).start()
    try:
        yield
    finally:
        libc.umount2(str(folder).encode(), FORCE)  # whoever waits is told that it is gone
        libc.umount2(str(folder).encode(), DETACH)
        os.close(device)
