"""The store: outputs of steps by their sha256, and which action made which outputs. Nobody's input, safe to delete.

Layout, the same in the local folder and behind a shared URL:

    objects/ab/ab12…            a file's bytes
    actions/cd/cd34….json       what the action of that key made: per output option the sha256 of its files, in order,
                                and the envelope of the run that made them

Everything is written beside its place and renamed into it, so that any number of writers may share a store; those of
several users, where the folder is its group's (`chmod g+ws`). An object is read only as often as it is hashed: on the
way in and on the way out.
"""

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
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

READABLE = 0o444  # by all who may enter the folder: nothing is written twice, only renamed over


class Damaged(Exception):
    """An object whose bytes are not those that its name says."""


@dataclass(frozen=True)
class Hit:
    """What an action made: per output option the sha256 of each file, in order, and the run's attestation, sealed."""

    outputs: dict[str, list[str]]
    envelope: dict[str, Any]


def parse_record(content: bytes) -> Hit:
    """Return what a record says, every field of it checked. Raises `Malformed`."""
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
        """Say that the store is in use, until `close` or the end of this process, so that nothing is collected."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / "in-use"
        self._in_use = lock_file(lock)  # held until it is closed
        self._for_group(lock)
        with contextlib.suppress(OSError):  # a file system without locks: a restore then misses what is collected
            fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def close(self) -> None:
        """Say that this process is done with it."""
        if self._in_use:
            self._in_use.close()

    def find(self, key: str) -> Hit | None:
        """Return what the action of this key made, from here or from the shared store; None if nobody made it.

        Raises `Malformed` for a record that is none.
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
        """Remember what the action of this key made. Its objects must be in the store already."""
        path = self._action(key)
        with self._part(path) as part:
            part.write_text(json.dumps({"version": 2, "outputs": hit.outputs, "envelope": hit.envelope}))
            part.chmod(READABLE)
            part.replace(path)
        self._share(path)

    def put(self, source: Path, digest: str) -> None:
        """Take in a file. Raises `Damaged` if its bytes are not of this digest any more."""
        path = self._object(digest)
        if path.is_symlink() or not path.is_file():
            with self._part(path) as part:
                if copy_file(source, part) != digest:
                    raise Damaged(f"{source} changed while it was stored")
                part.chmod(READABLE)
                part.replace(path)
        self._share(path)

    def get(self, digest: str, target: Path) -> bool:
        """Give out a copy of an object; False if nobody has it, whole. A damaged one is removed and fetched again."""
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
        """Take a file over from the shared store; False if there is none, or it has no such file."""
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
    def _part(self, path: Path) -> Iterator[Path]:
        """Give a name beside `path` that no other writer has; nothing is left there unless it was renamed."""
        for folder in (path.parent.parent, path.parent):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
                self._for_group(folder)
            if folder.is_symlink():
                raise NotRegular(folder, "is a link, not a directory", f"remove it, or delete {self.folder}")
        with temporary_beside(path) as part:
            yield part

    def _for_group(self, path: Path) -> None:
        """Let the store's group write what was made in it, if the store is its group's: whatever this user's umask."""
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
    """Refuse what is no sha256: a name with a `..` in it would lead out of the store."""
    try:
        DIGEST(name)
    except Malformed as error:
        raise Malformed(f"a file of the store{error}") from None
