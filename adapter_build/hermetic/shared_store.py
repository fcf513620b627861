"""Shared store of a team or a CI, behind any URL that fsspec knows: file, s3, gs, read-only http."""

# pyright: basic
# fsspec has no types.

import contextlib
import uuid
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput, say
from adapter_build.core.stall_timeout import Stalled, bytes_at, unless_stalled

TIMEOUT = 20.0  # seconds, the default of store.timeout
SLOWEST_SENT = 100_000  # bytes a second, for an upload, whose progress cannot be observed


class SharedStore:
    """Files by name in a shared store. The caller hashes a file that it read before it uses it."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        """Give up a store that is silent for `timeout` seconds. Raises `BadInput` for a URL of no known kind."""
        import fsspec

        self.url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except ValueError as error:
            raise BadInput(f"store.url: {url}: {error}: give a folder, file://, s3://, gs:// or https://") from None
        except ImportError as error:  # file, s3, gs and http are in the lock
            mend = "name the package in containers/workflow/requirements.in, then make lock and make"
            raise BadInput(f"store.url: {url}: {error}: {mend}") from None
        self._timeout = timeout
        self._silent = False
        self._writable = True

    def read(self, name: str, target: Path) -> bool:
        """Fetch a file to `target`; return False if the store lacks it. A silent store counts as empty."""
        if self._silent:
            return False
        try:
            unless_stalled(
                lambda: self._files.get_file(f"{self._root}/{name}", str(target)),
                self._timeout,
                lambda: bytes_at(target),
            )
        except FileNotFoundError:
            return False
        except Exception as error:  # each file system has errors of its own
            self._complain("read", error)
            return False
        return True

    def write(self, source: Path, name: str) -> None:
        """Upload a file that the store lacks: under a temporary name, then renamed, where the store can rename."""
        if not self._writable or self._silent:
            return
        target = f"{self._root}/{name}"
        part = f"{target}.part-{uuid.uuid4().hex}"
        try:
            if unless_stalled(lambda: self._files.exists(target), self._timeout):
                return
            unless_stalled(
                lambda: self._send(source, part, target), max(self._timeout, bytes_at(source) / SLOWEST_SENT)
            )
        except Exception as error:  # each file system has errors of its own
            self._writable = False
            if not isinstance(error, Stalled):
                with contextlib.suppress(Exception):
                    unless_stalled(lambda: self._files.rm(part), self._timeout)
            self._complain("written", error)

    def _send(self, source: Path, part: str, target: str) -> None:
        if "file" not in self._protocols():
            self._files.put_file(str(source), target)  # an object store shows a file once its upload is complete
            return
        self._files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)  # an object store would make a bucket
        self._files.put_file(str(source), part)
        self._files.mv(part, target)

    def _protocols(self) -> Any:
        protocol = self._files.protocol
        return (protocol,) if isinstance(protocol, str) else protocol

    def _complain(self, what: str, error: Exception) -> None:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        if isinstance(error, Stalled):
            self._silent = True
            reason += ", so this step goes on without it: check store.url, or raise store.timeout"
        say(f"  store {self.url} cannot be {what}: {reason}", error=True)
