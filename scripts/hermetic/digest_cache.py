"""Digests of files that have not changed since they were hashed: a large one is read once, not at every step.

An entry is believed while path, size, modification time in nanoseconds and inode are what they were. Snakemake touches
what a job has made, so the first reader after that hashes it again. A file of its own per path, renamed into place: any
number of processes may read and write, on a shared file system too.
"""

import hashlib
import json
import os
import time
from pathlib import Path

from hermetic.digests import file_digest

FOLDER = Path("results/.digests")
SMALL = 2**20  # bytes that are hashed sooner than an entry is read
SETTLED = 2.0  # seconds: a file changed in the same tick of a coarse clock keeps its modification time


def cached_digest(path: Path, folder: Path = FOLDER) -> str:
    """Return the sha256 of a file, from the cache if the file is what it was. STEP_PARANOID=1 always hashes."""
    before = path.stat()
    if before.st_size <= SMALL or os.environ.get("STEP_PARANOID") == "1":
        return file_digest(path)
    identity = [before.st_size, before.st_mtime_ns, before.st_ino]
    entry = folder / hashlib.sha256(str(path.absolute()).encode()).hexdigest()
    try:
        known = json.loads(entry.read_text())
        if known["identity"] == identity:
            return known["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or cut short
    digest = file_digest(path)
    after = path.stat()
    unchanged = [after.st_size, after.st_mtime_ns, after.st_ino] == identity
    if unchanged and time.time() - after.st_mtime > SETTLED:
        folder.mkdir(parents=True, exist_ok=True)
        part = entry.with_name(f".{entry.name}.{os.getpid()}")
        part.write_text(json.dumps({"path": str(path), "identity": identity, "sha256": digest}))
        part.replace(entry)
    return digest
