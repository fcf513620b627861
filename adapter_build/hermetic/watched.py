"""The inputs of a step while it runs: hashed anew from their bytes, and still the same files when it has ended.

The action key may come from the digest cache. What is signed of a step that runs may not: a cache is only as good as
the clocks and the folder that it trusts.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.hermetic.digest_cache import identity_of


@contextlib.contextmanager
def watched(digests: Mapping[Path, str]) -> Iterator[None]:
    """Hash every file of `digests` (path → sha256 in its key) while the body runs.

    Raises `BadInput` at the end for one that was another when the body began, or was altered since.
    """
    files = [_Watched(path) for path in digests]
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


class _Watched:
    """One file: its identity before it was hashed, and what came of that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = self._found = None
        with contextlib.suppress(OSError):
            self._identity = identity_of(path)

    def hash(self) -> None:
        """Hash it."""
        with contextlib.suppress(OSError):
            self._found = file_digest(self.path)

    def digest(self) -> str | None:
        """Return the sha256 that it had all along; that of now if it was touched since; None if it cannot be read."""
        with contextlib.suppress(OSError):
            if identity_of(self.path) != self._identity:
                return file_digest(self.path)
            return self._found
        return None
