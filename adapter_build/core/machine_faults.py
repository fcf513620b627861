"""A machine's refusals: a full, closed or read-only file system, told in one line with what mends it."""

import errno
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS)
LIMITS = {
    errno.EFBIG: "a file may be no larger here: raise ulimit -f",
    errno.EMFILE: "too many files are open: raise ulimit -n",
    errno.ENFILE: "the machine has too many files open: raise fs.file-max",
    errno.EIO: "the disk cannot be read or written: look at dmesg",
    errno.ESTALE: "the network file system has lost it: mount it again",
    errno.ENAMETOOLONG: "its name is too long for this file system: shorten it",
    errno.ELOOP: "its links go round in a circle: rm the link",
}
MOUNTS = Path("/proc/self/mountinfo")
SPARE = 2**20  # bytes: a file system with less has no room for what failed


def told(error: OSError) -> str | None:
    """Return a line on what the machine refused, with what mends it; None for any other error."""
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    # Of a renaming, the second is the more likely one: the first was written just before.
    name = named[-1] if named else ""
    what = f"{os.strerror(error.errno)}{f': {name!r}' if name else ''}" if error.errno else ""
    if error.errno in FULL:
        return f"{what}: {full([name] if name else places())}"
    if error.errno in LIMITS:
        return f"{what}: {LIMITS[error.errno]}"
    if error.errno in REFUSALS and name:
        return f"{what}: {closed(name, error.errno)}"
    return None


def full(paths: Iterable[str | Path]) -> str:
    """Return which file systems of these paths are full, and what frees space there; all of them where none is any
    more, as once what failed was removed, or where a quota is used up.
    """
    found = {mount(Path(path)): room(Path(path)) for path in paths}
    where = [place for place, left in found.items() if left < SPARE]
    named = " and ".join(
        f"{place} ({left / 1e6:.1f} MB left)" for place, left in found.items() if place in (where or found)
    )
    mend = "free some space there (make gc YES=1 sweeps the store)"
    return (
        f"the file system {named} is full: {mend}"
        if where
        else f"no room was left on {named}, or your quota is used up: {mend}"
    )


def closed(name: str, number: int = errno.EACCES) -> str:
    """Return why a path cannot be read or written, and what would change that."""
    path = Path(name)
    above = next((place for place in (path, *path.parents) if os.path.lexists(place)), Path())
    if os.access(above, os.R_OK | os.W_OK, follow_symlinks=False) and not os.access(above.parent, os.W_OK | os.X_OK):
        above = above.parent  # in which it would be made, replaced or removed
    if number == errno.EROFS or os.statvfs(above).f_flag & os.ST_RDONLY:
        return f"{mount(above)} is mounted read-only: build in a checkout that is not, or mount it writable"
    owner, own = os.lstat(above).st_uid, os.geteuid()
    mend = "chmod u+rwX" if owner == own else f"sudo chown -R {own}"
    return f"not open to uid {own}, uid {owner} owns {above}: {mend} {shlex.quote(str(above))}"


def places() -> list[Path]:
    """Return where a build and its steps write."""
    names = (".", "results", "logs", ".store", os.environ.get("TMPDIR") or "/tmp", "/dev/shm")
    return [path for path in map(Path, names) if path.exists()]


def mount(path: Path) -> Path:
    """Return the mount point of the file system that a path lies on, or would lie on."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    path = path.resolve()
    try:
        mounted = {line.split()[4] for line in MOUNTS.read_text(errors="surrogateescape").splitlines()}
    except OSError:
        mounted = set()
    points = [place for place in (path, *path.parents) if _as_listed(place) in mounted]
    return points[0] if points else Path("/")


def _as_listed(path: Path) -> str:
    """Return a path as the kernel writes it, in which blanks would end it."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\" else letter for letter in str(path))


def room(path: Path) -> int:
    """Return the bytes, or where there are none left 0 of the file numbers, that this user may still fill there."""
    left = os.statvfs(mount(path))
    return left.f_bavail * left.f_frsize if left.f_favail or not left.f_files else 0
