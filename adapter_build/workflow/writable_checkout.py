"""A checkout that this user can write, with room left: Snakemake ends without a word where that does not hold."""

import os
from pathlib import Path
from shlex import quote

from adapter_build.core.faults import BadInput
from adapter_build.core.file_systems import SPARE, free_bytes, why_closed, why_full

WRITTEN = (".snakemake", "results", "logs", "benchmarks")  # folders of the checkout, by every build


def check_writable() -> None:
    """Raise `BadInput` for a checkout that this user cannot build in: another user's, a read-only or a full one."""
    made = [path for path in map(Path, WRITTEN) if path.is_dir()]
    for path in made if len(made) == len(WRITTEN) else [Path(), *made]:
        _check_writable(path)
        if path != Path() and os.access(path, os.R_OK):
            for below in path.iterdir():
                if below.is_dir() and not below.is_symlink():
                    _check_writable(below)
    if any(free_bytes(path) < SPARE for path in [Path(), *made]):
        raise BadInput(why_full([Path(), *made]))


def _check_writable(path: Path) -> None:
    if os.access(path, os.W_OK | os.X_OK):
        return
    owner, own = path.stat().st_uid, os.geteuid()
    if owner == own or os.statvfs(path).f_flag & os.ST_RDONLY:
        raise BadInput(f"{path.absolute()}: not writable: {why_closed(str(path.absolute()))}")
    raise BadInput(
        f"{path.absolute()}: not writable for uid {own}, uid {owner} owns it: sudo chown -R {own} "
        f"{quote(str(Path.cwd()))}, or build in a clone of your own"
    )
