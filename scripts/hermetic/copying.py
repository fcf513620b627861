"""Copy a file and hash what was copied, in little more than the time that hashing takes."""

import hashlib
import queue
import threading
from pathlib import Path

CHUNK = 2**20
BUFFERS = 8  # used again and again: memory that is new to the process costs as much as the copying


def copy_file(source: Path, target: Path) -> str:
    """Copy bytes and return their sha256, in hexadecimal; one thread hashes what the other has written."""
    digest = hashlib.sha256()
    free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
    filled: queue.SimpleQueue[tuple[bytearray, int] | None] = queue.SimpleQueue()
    for _ in range(BUFFERS):
        free.put(bytearray(CHUNK))

    def hash_filled() -> None:
        while (item := filled.get()) is not None:
            buffer, size = item
            digest.update(memoryview(buffer)[:size])
            free.put(buffer)

    hasher = threading.Thread(target=hash_filled)
    hasher.start()
    try:
        with open(source, "rb", buffering=0) as read, open(target, "wb", buffering=0) as write:
            while size := read.readinto(buffer := free.get()):
                view = memoryview(buffer)[:size]
                while view:
                    view = view[write.write(view) :]
                filled.put((buffer, size))
    finally:
        filled.put(None)
        hasher.join()
    return digest.hexdigest()
