"""Digests of inputs: cached for the action key, hashed anew from the bytes while a step runs.

A large file is hashed once, not at every step. A cache entry is believed while path, size, inode and both times in
nanoseconds are as they were: the time of the last modification, which anyone may set, and that of the last change,
which nobody can. Snakemake touches what a job has made, so the first reader after that hashes it again. Each path has
an entry file of its own, replaced atomically: any number of processes may read and write, on a shared file system too.

An attestation of a step that runs takes no digest from the cache, which is only as good as the clocks and the folder
that it trusts: `unaltered` hashes every input anew, and sees that it is still the same file when the step has ended.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Generator, Mapping
from pathlib import Path

from adapter_build.core import strict_json
from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import open_regular, read_regular
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.attestation_schema import DIGEST
from adapter_build.hermetic.liveness_lock import age

FOLDER = Path("results/.digests")
SMALL = 2**20  # bytes that are hashed sooner than an entry is read
LONGEST = 2**16  # bytes of an entry
SETTLED = 2.0  # seconds: a file changed in the same tick of a coarse clock keeps its modification time


def cached_digest(path: Path, folder: Path = FOLDER) -> str:
    """Return the sha256 of a file, from the cache if the file is unchanged. STEP_PARANOID=1 always hashes.

    `folder` holds the cache. Raises `OSError` for a file that cannot be read.
    """
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
    """Return [size in bytes, mtime in ns, ctime in ns, inode]: the identity of a file, which any change of it changes.

    The open file is asked: a network file system answers `stat` from memory, but asks its server at `open`.
    """
    with open_regular(path, links=True) as file:
        found = os.fstat(file.fileno())
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


@contextlib.contextmanager
def unaltered(digests: Mapping[Path, str]) -> Generator[None]:
    """Hash every file of `digests` (path → sha256 in the action key) while the body runs, in a thread of its own.

    Raises `BadInput` at the end for a file that differed from its digest when the body began, or was altered since.
    """
    files = [_Input(path) for path in digests]
    thread = threading.Thread(target=lambda: [file.hash() for file in files], daemon=True)
    thread.start()
    yield
    thread.join()
    for file in files:
        found = file.digest()
        if found != digests[file.path]:
            was = f"sha256 {digests[file.path][:8]}…, and {f'{found[:8]}…' if found else 'cannot be read'} now"
            raise BadInput(
                f"{file.path}: altered while its step ran, or since it was hashed ({was}): nothing of "
                "this run is kept; leave it as it is, and type the command again"
            )


class _Input:
    """One input: its identity before it was hashed, and its digest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = self._found = None
        with contextlib.suppress(OSError):
            self._identity = identity_of(path)

    def hash(self) -> None:
        """Hash the file."""
        with contextlib.suppress(OSError):
            self._found = file_digest(self.path)

    def digest(self) -> str | None:
        """Return the sha256 that the file had all along; its present one if touched since; None if unreadable."""
        with contextlib.suppress(OSError):
            if identity_of(self.path) != self._identity:
                return file_digest(self.path)
            return self._found
        return None
