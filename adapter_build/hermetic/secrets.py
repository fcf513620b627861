"""Secrets of a step: files in memory that only its sandbox shows."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

from adapter_build.hermetic.access import private_folder

IN_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def secret_files(names: Sequence[str], shared: bool = False) -> Generator[Path | None]:
    """Write each set variable of `names` to a file, yield the folder (None if none is set), and remove it at the end.

    Without a file system in memory the files lie in the temporary folder, readable by this user only. The folder of a
    killed runner is removed by the next one. `shared` tells that steps see this machine's own /dev/shm, where steps of
    one user could read each other's secrets: the files then lie in this user's private folder.
    """
    _reap()
    present = [name for name in names if os.environ.get(name)]
    if not present:
        yield None
        return
    parent = private_folder() if shared else IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=f"step-secrets-{os.getpid()}-", dir=parent))
    try:
        for name in present:
            file = folder / name
            file.touch(mode=0o600)
            file.write_text(os.environ[name])
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reap() -> None:
    with contextlib.suppress(OSError):  # a link of others that leads nowhere, a folder that went meanwhile
        _reap_in(private_folder())
    for parent in (IN_MEMORY, Path(tempfile.gettempdir())):
        _reap_in(parent)


def _reap_in(parent: Path) -> None:
    for folder in parent.glob("step-secrets-*-*"):
        pid = folder.name.split("-")[2]
        with contextlib.suppress(OSError):
            if not Path("/proc", pid).exists() and folder.lstat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
