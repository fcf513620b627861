"""Digests of files that have not changed since they were hashed: a large one is read once, not at every step.

An entry is believed while path, size, modification time in nanoseconds and inode are what they were. Snakemake touches
what a job has made, so the first reader after that hashes it again. A file of its own per path, renamed into place: any
number of processes may read and write, on a shared file system too.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from hermetic.digests import file_digest
from hermetic.lease import age
from hermetic.regular_file import open_regular, read_regular
from hermetic.whole import write_whole

FOLDER = Path("results/.digests")
SMALL = 2**20  # bytes that are hashed sooner than an entry is read
SETTLED = 2.0  # seconds: a file changed in the same tick of a coarse clock keeps its modification time


def cached_digest(path: Path, folder: Path = FOLDER) -> str:
    """Return the sha256 of a file, from the cache if the file is what it was. STEP_PARANOID=1 always hashes."""
    before = _stat(path)
    if before.st_size <= SMALL or os.environ.get("STEP_PARANOID") == "1":
        return file_digest(path)
    identity = [before.st_size, before.st_mtime_ns, before.st_ino]
    entry = folder / hashlib.sha256(str(path.absolute()).encode()).hexdigest()
    try:
        known = json.loads(read_regular(entry))
        if known["identity"] == identity:
            return known["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or cut short
    digest = file_digest(path)
    after = _stat(path)
    unchanged = [after.st_size, after.st_mtime_ns, after.st_ino] == identity
    with contextlib.suppress(OSError):  # no room, or not ours to write: it is read again the next time
        folder.mkdir(parents=True, exist_ok=True)
        if unchanged and age(path, folder / ".clock") > SETTLED:
            write_whole(entry, json.dumps({"path": str(path), "identity": identity, "sha256": digest}))
    return digest


def _stat(path: Path) -> os.stat_result:
    """Return what the file is now: a network file system answers `stat` from memory, but asks its server at `open`."""
    with open_regular(path, links=True) as file:
        return os.fstat(file.fileno())
