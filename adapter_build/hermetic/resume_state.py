"""Resume state of a killed step, taken up where this builder's own runner left it: with a code over bytes and action.

The step writes into a folder of its attempt, under names that are whole as soon as they are there. The runner takes
each file out into results/.kept/STEP-KEY/, and before that writes down an HMAC of its name, its sha256 and the action
key, with a secret derived from the builder's private key. A file without one is not handed in. The step sees neither.
"""

import contextlib
import hashlib
import hmac
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from adapter_build.core.atomic_file import replacing, write_atomically
from adapter_build.core.faults import say
from adapter_build.core.regular_file import read_regular
from adapter_build.hermetic.attempt import ATTEMPTS
from adapter_build.hermetic.copying import copy_file
from adapter_build.hermetic.kept import kept_folder
from adapter_build.hermetic.keys import private_key

PURPOSE = b"resume state v1"
SECONDS_BETWEEN_LOOKS = 0.2
REMEMBERED = 16  # codes: a writer that is killed between code and file leaves those of both
CODES = re.compile(r"([0-9a-f]{64}\n)*")
LONGEST = 2**12  # bytes of all codes
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # of a file; others are work in progress
Seen = tuple[int, int, int]


class ResumeState:
    """The state of one action: `handed` are the files, name → sha256, that the step finds; `signed`: by a key."""

    def __init__(self, step: str, key: str, live: Path) -> None:
        """`key` is the action's; `live` a folder for the step to write in, in its attempt."""
        path = os.environ.get("STEP_KEY")
        self._secret = private_key(Path(path)).derived(PURPOSE) if path else b""
        self.signed = bool(path)
        self._step, self._key = step, key
        self._folder, self._live = kept_folder(step, key), live
        self._notes = _notes(step, key)
        self._seen: dict[str, Seen] = {}
        self.handed: dict[str, str] = {}
        live.mkdir()
        self._hand_in()

    @property
    def digest(self) -> str:
        """The sha256 of what was handed in."""
        return self.handed[min(self.handed)] if self.handed else ""

    def _hand_in(self) -> None:
        codes = self._codes()
        for path in sorted(self._folder.glob("*")) if not self._folder.is_symlink() else [self._folder]:
            if not NAME.fullmatch(path.name):
                continue
            target = self._live / path.name
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
        self._seen = self._look()

    @contextlib.contextmanager
    def taken_out(self) -> Iterator[None]:
        """Take each new file out while the body runs, and what is there where it ends ill."""
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
        """Put what is new into results/.kept, its code first. No room there loses nothing but time."""
        found = self._look()
        for name in sorted(name for name in found if found[name] != self._seen.get(name)):
            with contextlib.suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                with replacing(self._folder / name) as part:
                    digest = copy_file(self._live / name, part, below=self._live)
                    codes = [*self._codes(), self._code(name, digest)][-REMEMBERED:]
                    write_atomically(self._notes, "".join(f"{code}\n" for code in codes))
                self._seen[name] = found[name]

    def _look(self) -> dict[str, Seen]:
        found = {}
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
    """Drop what an action kept, and what was written down of it: it has ended well."""
    shutil.rmtree(kept_folder(step, key), ignore_errors=True)
    _notes(step, key).unlink(missing_ok=True)


def _notes(step: str, key: str) -> Path:
    return ATTEMPTS.absolute() / f"{kept_folder(step, key).name}.mac"
