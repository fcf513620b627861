"""A store that a team or a CI shares, behind any URL that fsspec knows: file, s3, gs, read-only http."""

import contextlib
import sys
import uuid
from pathlib import Path
from typing import Any

from faults import BadInput


class SharedStore:
    """Reads and writes whole files by name. Nothing read from it is believed before it was hashed."""

    def __init__(self, url: str) -> None:
        """Raises `BadInput` for a URL of no known kind."""
        import fsspec

        self.url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except ValueError as error:
            raise BadInput(f"store.url: {url}: {error}: give a folder, file://, s3://, gs:// or https://") from None
        except ImportError as error:  # file, s3, gs and http are in the lock
            mend = "name the package in containers/workflow/requirements.in, then make lock and make"
            raise BadInput(f"store.url: {url}: {error}: {mend}") from None
        self._writable = True

    def read(self, name: str, target: Path) -> bool:
        """Fetch a file to `target`; False if it is not there. A store that does not answer counts as empty."""
        try:
            self._files.get_file(f"{self._root}/{name}", str(target))
        except FileNotFoundError:
            return False
        except Exception as error:  # each file system has errors of its own
            self._complain("read", error)
            return False
        return True

    def write(self, source: Path, name: str) -> None:
        """Send a file unless it is there: under a name of its own first, then renamed, where the store can rename."""
        if not self._writable:
            return
        target = f"{self._root}/{name}"
        part = f"{target}.part-{uuid.uuid4().hex}"
        try:
            if self._files.exists(target):
                return
            self._files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            if "file" not in self._protocols():
                self._files.put_file(str(source), target)  # an object store shows a file when it is whole
                return
            self._files.put_file(str(source), part)
            self._files.mv(part, target)
        except Exception as error:  # each file system has errors of its own
            self._writable = False
            with contextlib.suppress(Exception):
                self._files.rm(part)
            self._complain("written", error)

    def _protocols(self) -> Any:
        protocol = self._files.protocol
        return (protocol,) if isinstance(protocol, str) else protocol

    def _complain(self, what: str, error: Exception) -> None:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"  store {self.url} cannot be {what}: {reason[:160]}", file=sys.stderr, flush=True)
