"""File systems that refuse a build: full, read-only or another user's, each with the command that mends it."""

import errno
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
SPARE = 2**20  # bytes: a file system with less has no room for the write that failed


def why_full(paths: Iterable[str | Path]) -> str:
    """Name the file systems of these paths that are full, and the command that frees space there.

    All of them are named where none is full any more, as once the file that failed was removed, or where a quota is
    used up.
    """
    found = {mount_point(Path(path)): free_bytes(Path(path)) for path in paths}
    without_room = [point for point, left in found.items() if left < SPARE]
    named = " and ".join(
        f"{point} ({left / 1e6:.1f} MB left)" for point, left in found.items() if point in (without_room or found)
    )
    mend = "free some space there (make gc YES=1 sweeps the store)"
    return (
        f"the file system {named} is full: {mend}"
        if without_room
        else f"no room was left on {named}, or your quota is used up: {mend}"
    )


def why_closed(name: str, number: int = errno.EACCES) -> str:
    """Return the reason why a path cannot be read or written, and the command that would change that.

    `number` is the error that the system gave.
    """
    path = Path(name)
    above = next((parent for parent in (path, *path.parents) if os.path.lexists(parent)), Path())
    if os.access(above, os.R_OK | os.W_OK, follow_symlinks=False) and not os.access(above.parent, os.W_OK | os.X_OK):
        above = above.parent  # in which the file would be made, replaced or removed
    if number == errno.EROFS or os.statvfs(above).f_flag & os.ST_RDONLY:
        return f"{mount_point(above)} is mounted read-only: build in a checkout that is not, or mount it writable"
    owner, own = os.lstat(above).st_uid, os.geteuid()
    mend = "chmod u+rwX" if owner == own else f"sudo chown -R {own}"
    return f"not open to uid {own}, uid {owner} owns {above}: {mend} {shlex.quote(str(above))}"


def written_folders() -> list[Path]:
    """Return the folders that a build and its steps write to, of those that exist."""
    names = (".", "results", "logs", ".store", os.environ.get("TMPDIR") or "/tmp", "/dev/shm")
    return [path for path in map(Path, names) if path.exists()]


def mount_point(path: Path) -> Path:
    """Return the mount point of the file system that a path lies on, or would lie on."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    path = path.resolve()
    try:
        mounted: set[str] = {line.split()[4] for line in MOUNTS.read_text(errors="surrogateescape").splitlines()}
    except OSError:
        mounted = set()
    points = [parent for parent in (path, *path.parents) if _as_listed(parent) in mounted]
    return points[0] if points else Path("/")


def _as_listed(path: Path) -> str:
    """Return a path as mountinfo lists it: a blank would end the field, and is an octal escape."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\" else letter for letter in str(path))


def free_bytes(path: Path) -> int:
    """Return the bytes that this user may still write there; 0 where no inode is left."""
    left = os.statvfs(mount_point(path))
    return left.f_bavail * left.f_frsize if left.f_favail or not left.f_files else 0
