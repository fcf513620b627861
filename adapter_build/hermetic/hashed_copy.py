"""Copy a file and hash what was copied, in about the time that hashing takes."""

import hashlib
import os
import queue
import threading
from pathlib import Path

from adapter_build.core.regular_file import open_regular

CHUNK = 2**24
BUFFER = 2**20


def copy_file(source: Path, target: Path, below: Path | None = None) -> str:
    """Copy bytes and return the sha256 of the copy as it can be read back, in hexadecimal.

    The source is a regular file, in no linked folder below `below`. The kernel copies (by reference, where the file
    system can); a thread hashes what has arrived so far.
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
                    return  # cut short behind our back: the digest will not be the right one
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
    except OSError:  # between kinds of file systems, or an old kernel; what else is wrong, sendfile says too
        pass
    return os.sendfile(write, read, None, CHUNK)
