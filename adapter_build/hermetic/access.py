"""File permissions: what a container's user, who has no root's power, may read, and folders of one user alone."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

READ, WRITE, SEARCH = 4, 2, 1


@dataclass(frozen=True)
class Reader:
    """A user without root's power: its number, and its groups."""

    uid: int
    groups: frozenset[int]

    def may(self, path: Path, bits: int) -> bool:
        """Tell whether the mode of a file allows this user all of READ, WRITE and SEARCH in `bits`.

        An access control list is not read: for a file with one the answer is yes.
        """
        try:
            found = path.stat()
        except OSError:  # not for this process to judge
            return True
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid in self.groups else 0
        return (found.st_mode >> shift) & bits == bits or _has_list(path)

    def barred(self, paths: Iterable[Path]) -> Path | None:
        """Return the first of these files and folders, and of all below them, that this user may not read."""
        for path in paths:
            if path.is_symlink():  # it leads out of what the user sees, or to a file that is checked anyway
                continue
            wanted = READ | SEARCH if path.is_dir() else READ
            if not self.may(path, wanted):
                return path
            if path.is_dir():
                with contextlib.suppress(PermissionError):  # a folder closed to this process: not barred for its owner
                    if found := self.barred(sorted(path.iterdir())):
                        return found
        return None


def own_reader() -> Reader:
    """Return this process's user, without the power that root has."""
    return Reader(os.geteuid(), frozenset([os.getegid(), *os.getgroups()]))


def let_others_read(folder: Path) -> None:
    """Let every user read a folder of the model store, and enter the store: a server may be anyone's.

    The folders above the store keep the mode that the builder's umask gave them.
    """
    for path in (folder.parent, folder, *folder.iterdir()):
        wanted = 0o555 if path.is_dir() else 0o444
        if (mode := stat.S_IMODE(path.stat().st_mode)) | wanted != mode:
            path.chmod(mode | wanted)


def private_folder() -> Path:
    """Return a folder that this user alone may enter, for files that processes share while they live.

    It is the session's runtime folder, or one made in the temporary folder, where others could lay a link or a folder
    under its name. Raises `OSError` if they have.
    """
    session = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
    if session.is_absolute() and _is_own(session):
        return session
    made = Path(tempfile.gettempdir()) / f"adapter-build-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        made.mkdir(mode=0o700)
    if not _is_own(made):
        raise PermissionError(0, "another user's, or open to others", str(made))
    return made


def _is_own(folder: Path) -> bool:
    """Tell whether the path is a folder, not a link to one, that this user owns and nobody else may enter."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(handle)
    finally:
        os.close(handle)
    return found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077


def mode_of(path: Path) -> str:
    """Return a file's owner and mode in words."""
    found = path.stat()
    return f"mode {stat.S_IMODE(found.st_mode):o}, of uid {found.st_uid}"


def _has_list(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a file system without any
        return "system.posix_acl_access" in os.listxattr(path)
    return False
