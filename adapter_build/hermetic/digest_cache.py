"""Digests of files that have not changed since they were hashed: a large one is read once, not at every step.

An entry is believed while path, size, inode and both times in nanoseconds are what they were: that of the last
modification, which anyone may put back, and that of the last change, which nobody can. Snakemake touches what a job has
made, so the first reader after that hashes it again. A file of its own per path, renamed into place: any number of
processes may read and write, on a shared file system too. What a step that runs is attested to have read is not taken
from here: see hermetic/watched.py.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from adapter_build.core import strict_json
from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.digests import file_digest
from adapter_build.core.regular_file import open_regular, read_regular
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.documents import DIGEST
from adapter_build.hermetic.lease import age

FOLDER = Path("results/.digests")
SMALL = 2**20  # bytes that are hashed sooner than an entry is read
LONGEST = 2**16  # bytes of an entry
SETTLED = 2.0  # seconds: a file changed in the same tick of a coarse clock keeps its modification time


def cached_digest(path: Path, folder: Path = FOLDER) -> str:
    """Return the sha256 of a file, from the cache if the file is what it was. STEP_PARANOID=1 always hashes."""
    identity = identity_of(path)
    if identity[0] <= SMALL or os.environ.get("STEP_PARANOID") == "1":
        return file_digest(path)
    entry = folder / hashlib.sha256(str(path.absolute()).encode()).hexdigest()
    try:
        known = strict_json.loads(read_regular(entry, LONGEST))
        if known["identity"] == identity:
            DIGEST(known["sha256"])
            return known["sha256"]
    except (OSError, Malformed, KeyError, TypeError):
        pass  # none yet, or cut short
    digest = file_digest(path)
    unchanged = identity_of(path) == identity
    with contextlib.suppress(OSError):  # no room, or not ours to write: it is read again the next time
        folder.mkdir(parents=True, exist_ok=True)
        if unchanged and age(path, folder / ".clock") > SETTLED:
            write_atomically(entry, json.dumps({"path": str(path), "identity": identity, "sha256": digest}))
    return digest


def identity_of(path: Path) -> list[int]:
    """Return what tells a file from any other, and from what it was before it was altered: size, times and inode.

    Of the open file: a network file system answers `stat` from memory, but asks its server at `open`.
    """
    with open_regular(path, links=True) as file:
        found = os.fstat(file.fileno())
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
