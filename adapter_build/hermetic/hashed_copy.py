"""Copies of files that are hashed as they are written, in about the time that hashing alone takes."""

import hashlib
import os
import queue
import threading
from pathlib import Path

from adapter_build.core.regular_file import open_regular

CHUNK = 2**24
BUFFER = 2**20


def copy_file(source: Path, target: Path, below: Path | None = None) -> str:
    """Copy a file and return the sha256 of the copy as read back from it, in hexadecimal.

    The source must be a regular file, with no link to a folder between `below` and it. The kernel copies (by reference,
    where the file system can) while a thread hashes the part that has arrived. Raises `NotRegular` and `OSError`.
    """
    digest = hashlib.sha256()
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def hash_arrived(file: int) -> None:
        buffer = memoryview(bytearray(BUFFER))
        position = 0
        while size := arrived.get():
            end = position + size
            while position < end:
                if not (read := os.preadv(file, [buffer[: end - position]], position)):
                    return  # another process truncated the copy: the digest will not match
                digest.update(buffer[:read])
                position += read

    with open_regular(source, below=below) as read, open(target, "w+b", buffering=0) as write:
        hasher = threading.Thread(target=hash_arrived, args=[write.fileno()])
        hasher.start()
        try:
            for size in iter(lambda: _copy_some(read.fileno(), write.fileno()), 0):
                arrived.put(size)
        finally:
            arrived.put(0)
            hasher.join()
    return digest.hexdigest()


def _copy_some(read: int, write: int) -> int:
    """Copy up to CHUNK bytes from one file's position to the other's; return how many, 0 at the end."""
    try:
        if copied := os.copy_file_range(read, write, CHUNK):
            return copied
    except OSError:  # between kinds of file systems, or an old kernel; any other error sendfile raises too
        pass
    return os.sendfile(write, read, None, CHUNK)
