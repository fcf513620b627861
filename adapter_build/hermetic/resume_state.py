"""Resume state of a killed step: never an input, in no key, and taken up only if this builder's own runner left it.

The step writes into a folder of its attempt, each file atomically. The runner takes each file out into
results/.kept/STEP-KEY/, and before that writes down an HMAC of the file's name, its sha256 and the action key, with a
secret derived from the builder's private key. A file without a valid HMAC is not handed to the next run. The step sees
neither secret nor HMAC. The folder goes when the action has ended well.
"""

import contextlib
import hashlib
import hmac
import os
import re
import shutil
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from adapter_build.core.atomic_file import replacing, write_atomically
from adapter_build.core.faults import say
from adapter_build.core.regular_file import read_regular
from adapter_build.hermetic.attempt import ATTEMPTS
from adapter_build.hermetic.attestation import LINEAGE
from adapter_build.hermetic.hashed_copy import copy_file
from adapter_build.hermetic.keys import private_key

KEPT = Path("results/.kept")
PURPOSE = b"resume state v1"
SECONDS_BETWEEN_LOOKS = 0.2
REMEMBERED = 16  # codes: a writer that is killed between code and file leaves the codes of both files
CODES = re.compile(r"([0-9a-f]{64}\n)*")
LONGEST = 2**12  # bytes of all codes
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # of a file; others are work in progress
Identity = tuple[int, int, int]  # inode, size in bytes, mtime in ns


class ResumeState:
    """The resume state of one action.

    `handed` are the files that the step finds, name → sha256; `signed` tells whether the builder has a key.
    """

    def __init__(self, step: str, key: str, live: Path) -> None:
        """Hand in what the action `key` of `step` left, into `live`, a folder of the attempt that the step uses."""
        path = os.environ.get("STEP_KEY")
        self._secret = private_key(Path(path)).derived(PURPOSE) if path else b""
        self.signed = bool(path)
        self._step, self._key = step, key
        self._folder, self._live = kept_folder(step, key), live
        self._notes = _notes(step, key)
        self._taken: dict[str, Identity] = {}
        self.handed: dict[str, str] = {}
        live.mkdir()
        self._hand_in()

    @property
    def digest(self) -> str:
        """The sha256 of the file that was handed in; empty where none was."""
        return self.handed[min(self.handed)] if self.handed else ""

    def _hand_in(self) -> None:
        codes = self._codes()
        for path in sorted(self._folder.glob("*")) if not self._folder.is_symlink() else [self._folder]:
            if not NAME.fullmatch(path.name):
                continue
            target, digest = self._live / path.name, ""
            try:
                digest = copy_file(path, target, below=self._folder)
                sound = any(hmac.compare_digest(self._code(path.name, digest), code) for code in codes)
            except OSError:
                sound = False
            if sound:
                self.handed[path.name] = digest
                continue
            target.unlink(missing_ok=True)
            reason = "not left for this action by this builder's key"
            say(f"  {self._step}: {path}: {reason}: not resumed, it begins anew", error=True)
        self._taken = self._look()

    @contextlib.contextmanager
    def taking_out(self) -> Generator[None]:
        """Take each new file out while the body runs, and the last ones where it raises."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(SECONDS_BETWEEN_LOOKS):
                self._take()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            ended.set()
            thread.join()
            self._take()
            raise
        finally:
            ended.set()
            thread.join()

    def _take(self) -> None:
        """Copy each new file into results/.kept, its code first. A full disk there costs nothing but time."""
        found = self._look()
        for name in sorted(name for name in found if found[name] != self._taken.get(name)):
            with contextlib.suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                with replacing(self._folder / name) as part:
                    digest = copy_file(self._live / name, part, below=self._live)
                    codes = [*self._codes(), self._code(name, digest)][-REMEMBERED:]
                    write_atomically(self._notes, "".join(f"{code}\n" for code in codes))
                self._taken[name] = found[name]

    def _look(self) -> dict[str, Identity]:
        found: dict[str, Identity] = {}
        with contextlib.suppress(OSError):
            for path in self._live.iterdir():
                if NAME.fullmatch(path.name):
                    with contextlib.suppress(OSError):  # it was renamed away
                        now = path.lstat()
                        found[path.name] = (now.st_ino, now.st_size, now.st_mtime_ns)
        return found

    def _codes(self) -> list[str]:
        try:
            text = read_regular(self._notes, LONGEST).decode("ascii", errors="replace")
        except OSError:
            return []
        return text.split() if CODES.fullmatch(text) else []

    def _code(self, name: str, digest: str) -> str:
        return hmac.new(self._secret, f"{self._key}\n{name}\n{digest}".encode(), hashlib.sha256).hexdigest()


def forget(step: str, key: str) -> None:
    """Remove the resume state of an action that has ended well, and its codes."""
    shutil.rmtree(kept_folder(step, key), ignore_errors=True)
    _notes(step, key).unlink(missing_ok=True)


def _notes(step: str, key: str) -> Path:
    return ATTEMPTS.absolute() / f"{kept_folder(step, key).name}.mac"


def kept_folder(step: str, key: str) -> Path:
    """Return the folder of the resume state of the step's action with this key."""
    return KEPT.absolute() / f"{step.replace('/', '.')}-{key}"


def stale_files(steps: Iterable[str]) -> Iterator[Path]:
    """Yield every file left by a step that is not among `steps`, or that has since ended well as another action."""
    ended = {path.relative_to(LINEAGE).with_suffix("").as_posix().replace("/", "."): path
             for path in LINEAGE.rglob("*.json")}  # fmt: skip
    wanted = {step.replace("/", ".") for step in steps}
    for folder in KEPT.glob("*"):
        name = folder.name.rpartition("-")[0]
        finished = name in ended and ended[name].stat().st_mtime > folder.stat().st_mtime
        if name not in wanted or finished:
            if folder.is_symlink():  # not followed: it leads to no resume state
                yield folder
            else:
                yield from (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
