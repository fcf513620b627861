"""An attempt: a private folder for one run, whose outputs appear whole or not at all."""

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from faults import BadInput
from hermetic.secrets import secret_files

ATTEMPTS = Path("results/.attempts")


class Attempt:
    """The private folder: `out` mirrors the declared output paths, `scratch` is the step's TMPDIR.

    `lock` is held as long as the runner lives; `secrets` is the folder of the step's secrets, if it has any.
    """

    def __init__(self, root: Path, secrets: Path | None = None) -> None:
        self.lock = root / "lock"
        self.secrets = secrets
        self.out = root / "out"
        self.scratch = root / "scratch"
        self.out.mkdir()
        self.scratch.mkdir()

    def prepare(self, outputs: Iterable[Path]) -> None:
        """Make the folders that the outputs will lie in."""
        for path in outputs:
            (self.out / path).parent.mkdir(parents=True, exist_ok=True)

    def check(self, outputs: Iterable[Path]) -> None:
        """Refuse a run that left out a declared output or wrote one that is not declared."""
        declared = set(outputs)
        for path in declared:
            if (self.out / path).is_symlink() or (self.out / path).is_dir():
                kind = "link" if (self.out / path).is_symlink() else "folder"
                raise BadInput(f"{path}: declared as an output, which is a file, but written as a {kind}")
        made = {path.relative_to(self.out) for path in self.out.rglob("*") if not path.is_dir()}
        if missing := sorted(declared - made):
            raise BadInput(f"{missing[0]}: declared as an output but not written")
        if extra := sorted(made - declared):
            raise BadInput(f"{extra[0]}: written but not declared as an output")

    def publish(self, outputs: Iterable[Path]) -> None:
        """Rename every output into place."""
        for path in outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.out / path).replace(path)


@contextlib.contextmanager
def attempt(step: str, secrets: Sequence[str] = ()) -> Iterator[Attempt]:
    """Make an attempt's folder, locked while it is in use, and remove it at the end however that comes.

    `secrets` names the variables that the step may see.
    """
    ATTEMPTS.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as cleanup:
        with open(ATTEMPTS / ".lock", "w") as births:  # so that nobody reaps a folder before it is locked
            fcntl.flock(births, fcntl.LOCK_EX)
            _reap()
            root = Path(tempfile.mkdtemp(prefix=f"{step.replace('/', '.')}-", dir=ATTEMPTS)).absolute()
            lock = cleanup.enter_context(open(root / "lock", "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        cleanup.callback(shutil.rmtree, root, ignore_errors=True)
        yield Attempt(root, cleanup.enter_context(secret_files(secrets)))


def _reap() -> None:
    """Remove the folders of attempts whose runner was killed: those whose lock nobody holds, or which lost theirs."""
    for root in (path for path in ATTEMPTS.iterdir() if path.is_dir()):
        if abandoned(root / "lock"):
            shutil.rmtree(root, ignore_errors=True)


def abandoned(lock: Path) -> bool:
    """Whether the runner that made this lock is gone, however it ended."""
    try:
        with open(lock) as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:  # held, or not ours to look at
        return False
    return True
