"""Attempts: a private folder for each run of a step, whose outputs are renamed into place when it has ended well.

results/.attempts/ may lie on a file system that several machines share, where an flock may be visible to one of them
alone, and where a job may live on after the scheduler gave up its machine. So

    STEP-x.lock    names the machine of the runner, which holds an flock on it and touches it while it lives
    STEP-x/        the private folder, made after the lock and removed before it
    STEP.owner     names the latest attempt at a step: an earlier one that is still alive publishes nothing
"""

import contextlib
import shutil
import stat
import tempfile
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import KINDS
from adapter_build.hermetic.liveness_lock import abandoned, expired, hold
from adapter_build.hermetic.secrets import secret_files

ATTEMPTS = Path("results/.attempts")
DANGEROUS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX | stat.S_IWOTH  # of the mode of an output


class Attempt:
    """The private folder: `out` mirrors the declared output paths, `scratch` is the step's TMPDIR.

    `root`, which both lie in, is not the step's. `lock` is held as long as the runner lives; `secrets` is the folder of
    the step's secrets, if it has any, `kept` that of its resume state, if it leaves any. `owner` is the file that names
    the step's latest attempt.
    """

    def __init__(self, root: Path, owner: Path | None = None, secrets: Path | None = None) -> None:
        self.root = root
        self.lock = _lock_of(root)
        self.secrets = secrets
        self.out = root / "out"
        self.scratch = root / "scratch"
        self.kept: Path | None = None
        self._owner = owner
        self.out.mkdir()
        self.scratch.mkdir()

    def keep(self) -> Path:
        """Return the folder, not made yet, for resume state: if this run is killed, the next takes it up."""
        self.kept = self.out.with_name("kept")
        return self.kept

    def prepare(self, outputs: Iterable[Path]) -> None:
        """Make the folders of the outputs."""
        for path in outputs:
            (self.out / path).parent.mkdir(parents=True, exist_ok=True)

    def check(self, outputs: Iterable[Path]) -> None:
        """Raise `BadInput` for a declared output that is missing or no file, and for a file that is not declared."""
        declared = set(outputs)
        for path in declared:
            with contextlib.suppress(FileNotFoundError):
                mode = (self.out / path).lstat().st_mode
                if not stat.S_ISREG(mode):
                    kind = "a folder" if stat.S_ISDIR(mode) else KINDS[stat.S_IFMT(mode)]
                    raise BadInput(f"{path}: declared as an output, which is a file, but written as {kind}")
        made = {path.relative_to(self.out) for path in self.out.rglob("*") if not path.is_dir()}
        if missing := sorted(declared - made):
            raise BadInput(f"{missing[0]}: declared as an output but not written")
        if extra := sorted(made - declared):
            raise BadInput(f"{extra[0]}: written but not declared as an output")

    def superseded(self) -> bool:
        """Tell whether a later attempt at the same step has begun, or has even ended."""
        try:
            return bool(self._owner) and self._owner.read_text() != self.lock.name
        except FileNotFoundError:
            return True

    def publish(self, outputs: Iterable[Path]) -> None:
        """Rename every output into place, without the mode bits that let others write it or run it as another user."""
        for path in outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = (self.out / path).lstat().st_mode
            if mode & DANGEROUS:
                (self.out / path).chmod(stat.S_IMODE(mode) & ~DANGEROUS)
            (self.out / path).replace(path)


@contextlib.contextmanager
def attempt(step: str, secrets: Sequence[str] = (), shared_memory: bool = False) -> Generator[Attempt]:
    """Make an attempt's folder, locked while it is in use, and remove it at the end, on errors too.

    `secrets` names the variables that the step may see; `shared_memory` tells that it sees the machine's own /dev/shm.
    """
    ATTEMPTS.mkdir(parents=True, exist_ok=True)
    _reap()
    name = step.replace("/", ".")
    with contextlib.ExitStack() as cleanup:
        handle, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".lock", dir=ATTEMPTS.absolute())
        lock = cleanup.enter_context(open(handle, "w"))
        cleanup.callback(Path(path).unlink, missing_ok=True)
        cleanup.enter_context(hold(lock))
        root = Path(path.removesuffix(".lock"))
        root.mkdir(mode=0o700)
        cleanup.callback(shutil.rmtree, root, ignore_errors=True)
        owner = ATTEMPTS.absolute() / f"{name}.owner"
        (root / "owner").write_text(Path(path).name)
        (root / "owner").replace(owner)
        made = Attempt(root, owner, cleanup.enter_context(secret_files(secrets, shared_memory)))
        cleanup.callback(lambda: made.superseded() or owner.unlink(missing_ok=True))
        yield made


def _reap() -> None:
    """Remove the folders and locks of attempts whose runner was killed."""
    for path in sorted(ATTEMPTS.iterdir()):
        if path.suffix == ".lock" and abandoned(path):
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)
        elif path.is_dir() and not _lock_of(path).exists() and expired(path):  # somebody removed the lock
            shutil.rmtree(path, ignore_errors=True)


def _lock_of(root: Path) -> Path:
    return root.with_name(f"{root.name}.lock")
