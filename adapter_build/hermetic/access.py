"""Access of another user to a file: a container's, who has no power to look past its mode."""

import contextlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

READ, WRITE, SEARCH = 4, 2, 1


@dataclass(frozen=True)
class Reader:
    """A user without power over the files of others: a number, and the groups that count."""

    uid: int
    groups: frozenset[int]

    def may(self, path: Path, bits: int) -> bool:
        """Tell whether the mode of a file allows this user all of READ, WRITE and SEARCH in `bits`.

        What an access control list says beside the mode is not looked at: with one, the answer is yes.
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
            if path.is_symlink():  # it leads out of what the other sees, or to what is looked at anyway
                continue
            wanted = READ | SEARCH if path.is_dir() else READ
            if not self.may(path, wanted):
                return path
            if path.is_dir():
                with contextlib.suppress(PermissionError):  # another's, whom it does not bar
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


def mode_of(path: Path) -> str:
    """Return whose a file is and its mode, in words."""
    found = path.stat()
    return f"mode {stat.S_IMODE(found.st_mode):o}, of uid {found.st_uid}"


def _has_list(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a file system without any
        return "system.posix_acl_access" in os.listxattr(path)
    return False
