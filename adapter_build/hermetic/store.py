"""Store: outputs of steps by their sha256, and records of actions' outputs. Never an input; safe to delete.

Layout, the same in the local folder and behind a shared URL:

    objects/ab/ab12…            a file's bytes
    actions/cd/cd34….json       the record of the action with that key: per output option the sha256 of its files, in
                                order, and the envelope of the run that made them

Every file is written atomically, so that any number of writers may share a store; several users may, where the folder
is their group's (`chmod g+ws`). An object is hashed whenever it is copied, in or out.
"""

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from adapter_build.core import strict_json
from adapter_build.core.atomic_file import temporary_beside
from adapter_build.core.faults import say
from adapter_build.core.regular_file import NotRegular, read_regular
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.attestation_schema import DIGEST, LONGEST_ENVELOPE, check_record
from adapter_build.hermetic.hashed_copy import copy_file
from adapter_build.hermetic.liveness_lock import lock_file
from adapter_build.hermetic.shared_store import SharedStore

LONGEST_RECORD = 2 * LONGEST_ENVELOPE  # bytes: with the digests of the outputs

READABLE = 0o444  # by all who may enter the folder: no file is written to again, only replaced


class Damaged(Exception):
    """An object whose bytes do not have the sha256 that it should."""


@dataclass(frozen=True)
class Hit:
    """The outputs of an action: per output option the sha256 of each file, in order; and the envelope of the run."""

    outputs: dict[str, list[str]]
    envelope: dict[str, Any]


def parse_record(content: bytes) -> Hit:
    """Return the content of a record, every field checked. Raises `Malformed`."""
    entry = strict_json.loads(content, LONGEST_RECORD)
    check_record(entry)
    return Hit(entry["outputs"], entry["envelope"])


class Store:
    """A local folder, and behind it a shared store if there is one."""

    def __init__(self, folder: Path, shared: SharedStore | None = None) -> None:
        self.folder = folder
        self.shared = shared
        self._in_use: IO[bytes] | None = None

    def open(self) -> None:
        """Mark the store as in use, until `close` or the end of this process, so that no sweep removes files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / "in-use"
        self._in_use = lock_file(lock)  # held until it is closed
        self._for_group(lock)
        with contextlib.suppress(OSError):  # without locks a restore misses files that a sweep removes
            fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def close(self) -> None:
        """End this process's use of the store."""
        if self._in_use:
            self._in_use.close()

    def find(self, key: str) -> Hit | None:
        """Return the outputs of the action with this key, from here or from the shared store; None without a record.

        Raises `Malformed` for a broken record.
        """
        path = self._action(key)
        if not path.is_file():
            self._fetch(path)
        try:
            content = read_regular(path, LONGEST_RECORD, below=self.folder)
        except FileNotFoundError:
            return None
        except NotRegular as error:
            raise Malformed(f"its record {error.strerror}") from None
        return parse_record(content)

    def record(self, key: str, hit: Hit) -> None:
        """Write the record of the action with this key. Its objects must be in the store already."""
        path = self._action(key)
        with self._part(path) as part:
            part.write_text(json.dumps({"version": 2, "outputs": hit.outputs, "envelope": hit.envelope}))
            part.chmod(READABLE)
            part.replace(path)
        self._share(path)

    def put(self, source: Path, digest: str) -> None:
        """Add a file. Raises `Damaged` if its bytes no longer have this sha256."""
        path = self._object(digest)
        if path.is_symlink() or not path.is_file():
            with self._part(path) as part:
                if copy_file(source, part) != digest:
                    raise Damaged(f"{source} changed while it was stored")
                part.chmod(READABLE)
                part.replace(path)
        self._share(path)

    def get(self, digest: str, target: Path) -> bool:
        """Copy an object to `target`; return False if no store has it intact. A damaged one is replaced."""
        path = self._object(digest)
        return self._copied(path, target) or (self._fetch(path) and self._copied(path, target))

    def _copied(self, path: Path, target: Path) -> bool:
        try:
            if copy_file(path, target, below=self.folder) == path.name:
                return True
            path.unlink(missing_ok=True)
            say(f"store: {path} was not what its name says, and is removed")
        except NotRegular as error:
            say(f"store: {error}")
        except FileNotFoundError:
            pass
        target.unlink(missing_ok=True)
        return False

    def _fetch(self, path: Path) -> bool:
        """Copy a file from the shared store; return False if there is no shared store or it lacks the file."""
        if not self.shared:
            return False
        with self._part(path) as part:
            if not self.shared.read(self._shared_name(path), part):
                return False
            part.chmod(READABLE)
            part.replace(path)
        return True

    def _share(self, path: Path) -> None:
        if self.shared:
            self.shared.write(path, self._shared_name(path))

    @contextlib.contextmanager
    def _part(self, path: Path) -> Generator[Path]:
        """Yield a temporary name beside `path`, whose folder is made; the file under it is removed unless renamed."""
        for folder in (path.parent.parent, path.parent):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
                self._for_group(folder)
            if folder.is_symlink():
                raise NotRegular(folder, "is a link, not a directory", f"remove it, or delete {self.folder}")
        with temporary_beside(path) as part:
            yield part

    def _for_group(self, path: Path) -> None:
        """Let the store's group write a file or folder in it, whatever this user's umask, if the store is a group's."""
        mode = self.folder.stat().st_mode
        if mode & stat.S_IWGRP:
            found = path.stat()
            wanted = found.st_mode | stat.S_IRGRP | stat.S_IWGRP
            if stat.S_ISDIR(found.st_mode):
                wanted |= stat.S_IXGRP | (mode & stat.S_ISGID)
            if found.st_uid == os.geteuid() and wanted != found.st_mode:
                path.chmod(stat.S_IMODE(wanted))

    def _object(self, digest: str) -> Path:
        _check_name(digest)
        return self.folder / "objects" / digest[:2] / digest

    def _action(self, key: str) -> Path:
        _check_name(key)
        return self.folder / "actions" / key[:2] / f"{key}.json"

    def _shared_name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _check_name(name: str) -> None:
    """Raise `Malformed` unless the name is a sha256: a `..` in it would lead out of the store."""
    try:
        DIGEST(name)
    except Malformed as error:
        raise Malformed(f"a file of the store{error}") from None
