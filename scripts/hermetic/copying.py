"""Copy a file and hash what was copied, in the time that hashing takes."""

import hashlib
import queue
import threading
from pathlib import Path

CHUNK = 4 * 2**20
AHEAD = 4  # chunks that may wait to be hashed


def copy_file(source: Path, target: Path) -> str:
    """Copy bytes and return their sha256, in hexadecimal; one thread hashes what the other has written."""
    digest = hashlib.sha256()
    chunks: queue.Queue[bytes | None] = queue.Queue(AHEAD)

    def hash_chunks() -> None:
        while (chunk := chunks.get()) is not None:
            digest.update(chunk)

    hasher = threading.Thread(target=hash_chunks)
    hasher.start()
    try:
        with open(source, "rb", buffering=0) as read, open(target, "wb", buffering=0) as write:
            while chunk := read.read(CHUNK):
                chunks.put(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[write.write(view) :]
    finally:
        chunks.put(None)
        hasher.join()
    return digest.hexdigest()
