"""Changes of a model store while a server runs: each adapter that came, changed or went, checked and copied.

No writer has to pause. A folder counts once it is the same in two looks. Its copy is checked as in staging, and that
copy is served: the engine loads the bytes that were checked, whatever becomes of the folder.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import JSON, open_regular
from adapter_build.core.stall_timeout import SLOWEST, Stalled, bytes_at, unless_stalled
from adapter_build.core.strict_json import Malformed
from adapter_build.lineage.adapter_bundle import last_steps, read_bundle, staged_name
from adapter_build.lineage.results_folder import BUNDLE
from adapter_build.models.adapter_checks import LARGEST_CONFIG, check_config, check_header, check_name, check_weights
from adapter_build.models.adapter_size import BaseNorms
from adapter_build.models.llama_shape import llama_modules

SERVED = ("adapter_config.json", "adapter_model.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
PATIENCE, ONCE_SILENT = 10.0, 1.0  # seconds for a file system to answer; for each other one, once one has not
UNANSWERED = f"no answer in {PATIENCE:g} s: the adapter is left out until its file system answers"
AGAIN = "stage the adapter again"
Stamp = tuple[tuple[str, int, int, int, int], ...]  # per file: name, inode, size, times of content and of inode in ns


class Change(NamedTuple):
    """A changed adapter: the `copy` to serve, None where its name is served no more, or the reason of a refusal."""

    name: str
    copy: Path | None = None
    refused: str = ""


class AdapterStore:
    """Model store `folder`, for a server of `base`: true name `model`, config.json `config`, ranks to `max_rank`.

    `copies` is a folder for the copies, each of which belongs to the caller that is given it. `weights` are the base's
    safetensors, against whose norms adapters are measured.
    """

    def __init__(
        self,
        folder: Path,
        copies: Path,
        base: str,
        model: str,
        config: Path,
        max_rank: int,
        weights: Sequence[Path] = (),
    ) -> None:
        self._folder = folder.resolve()
        self._copies = copies
        self._base, self._model, self._max_rank = base, model, max_rank
        self._modules, self._layers = llama_modules(config)
        self._norms = BaseNorms(weights)
        self._trouble = ""  # the last fault of the store as a whole
        self._stalled: dict[str, Thread] = {}  # adapters whose file system has not answered yet
        self._looked: dict[str, Stamp] = {}  # at the last look
        self._judged: dict[str, Stamp] = {}  # when it was served or refused
        self._served: dict[str, dict[str, str]] = {}  # file → sha256

    def look(self, settled: bool = True) -> Iterator[Change]:
        """Yield each change since the last look. A refusal is reported once; the version served before stays.

        `settled` False: do not wait for a second look, as before a server starts.
        """
        try:
            before, (self._looked, silent) = self._looked, self._stamps()
        except (OSError, Stalled) as error:
            reason = f"{self._folder}: the model store cannot be read: {getattr(error, 'strerror', error)}"
            if reason != self._trouble:
                yield Change(self._folder.name, refused=f"{reason}; what was served still is")
            self._trouble = reason
            return
        self._trouble = ""
        for name in silent:
            yield self._refused(name, f"{self._folder / name}: {UNANSWERED}")
        for name in sorted({*self._looked, *self._judged}):
            stamp = self._looked.get(name, ())
            if stamp == self._judged.get(name, ()) or (settled and stamp != before.get(name, ())):
                continue
            self._judged[name] = stamp
            if not stamp:
                del self._judged[name]
                if self._served.pop(name, None):
                    yield Change(name)
                continue
            try:
                copy = self._checked_copy(name, stamp)
            except BadInput as fault:
                yield self._refused(name, str(fault))
            else:
                if copy:
                    yield Change(name, copy)

    def _refused(self, name: str, reason: str) -> Change:
        former = "; what was served under this name still is" if name in self._served else ""
        return Change(name, refused=f"{reason}{former}")

    def _stamps(self) -> tuple[dict[str, Stamp], list[str]]:
        """Return each adapter's stamp, and the names of those that stopped answering since the last look.

        Folders without an adapter are left out. An adapter on a file system that stalls delays neither the others nor
        the next look: its stamp stays as it was until the file system answers. Raises `OSError` and `Stalled` for the
        store as a whole.
        """
        try:
            names = unless_stalled(lambda: [path.name for path in self._folder.iterdir()], PATIENCE)
        except FileNotFoundError:
            names = []
        self._stalled = {name: left for name, left in self._stalled.items() if left.is_alive()}
        found = {name: self._judged.get(name, ()) for name in self._stalled}
        waiting = sorted(name for name in names if not name.startswith(".") and name not in self._stalled)
        silent: list[str] = []
        while waiting:
            stamps: dict[str, Stamp] = {}
            patience = ONCE_SILENT if silent else PATIENCE

            def collect(names: list[str] = waiting, stamps: dict[str, Stamp] = stamps) -> None:
                for name in names:
                    stamps[name] = self._stamp(name)

            try:
                unless_stalled(collect, patience, lambda stamps=stamps: len(stamps) * SLOWEST * PATIENCE)
                waiting = []
            except Stalled as error:
                stamps = dict(stamps)  # the abandoned thread may still write to the other one
                name, waiting = waiting[len(stamps)], waiting[len(stamps) + 1 :]
                self._stalled[name] = error.left
                silent.append(name)
                stamps[name] = self._judged.get(name, ())
            found |= stamps
        return {name: stamp for name, stamp in found.items() if stamp}, silent

    def _stamp(self, name: str) -> Stamp:
        """Return an adapter's stamp; an empty one for a folder without an adapter, and for what is no folder."""
        try:
            return tuple(
                (path.name, entry.st_ino, entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns)
                for path in sorted((self._folder / name).iterdir())
                if path.name in (*SERVED, BUNDLE) or path.suffix in PICKLES
                for entry in [path.stat() if path.exists() else path.lstat()]
            )
        except (FileNotFoundError, NotADirectoryError) as error:  # no folder, or it goes this very moment
            if isinstance(error, NotADirectoryError) or not (self._folder / name).is_symlink():
                return ()
            reason = str(error.strerror)
        except OSError as error:
            reason = str(error.strerror)
        return ((reason, 0, 0, 0, 0),)  # reported when it is read

    def _checked_copy(self, name: str, stamp: Stamp) -> Path | None:
        """Return a checked copy; None if its bytes are served already or the folder changes. Raises `BadInput`."""
        check_name(name, self._base)
        folder = self._folder / name
        copy = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._copies))
        bundle = copy.with_name(f"{copy.name}.bundle")
        try:
            config = unless_stalled(
                lambda: self._copy_settled(folder, copy, bundle, stamp),
                PATIENCE,
                lambda: bytes_at(copy) + bytes_at(bundle),
            )
            digests = {file: file_digest(copy / file) for file in SERVED}
            if not config or digests == self._served.get(name):
                shutil.rmtree(copy)
                return None
            _check_bundle(bundle, folder, digests)
            check_weights(copy / SERVED[1], config, self._modules, self._layers, name, self._norms)
        except Stalled as error:
            self._stalled[name] = error.left
            del self._judged[name]  # looked at again when it answers
            shutil.rmtree(copy, ignore_errors=True)
            raise BadInput(f"{folder}: {UNANSWERED}") from None
        except Exception as fault:  # whatever a foreign file holds: the server goes on
            shutil.rmtree(copy)
            reason = str(fault) if isinstance(fault, BadInput) else f"{folder}: {fault!r}: {AGAIN}"
            raise BadInput(reason.replace(str(bundle), str(folder / BUNDLE)).replace(str(copy), str(folder))) from None
        finally:
            bundle.unlink(missing_ok=True)
        self._served[name] = digests
        return copy

    def _copy_settled(self, folder: Path, copy: Path, bundle: Path, stamp: Stamp) -> dict[str, Any] | None:
        """Copy the files that are read, and return adapter_config.json's content; None if the folder changes."""
        try:
            for file, *_ in stamp:
                if Path(file).suffix in PICKLES:
                    raise BadInput(f"{folder / file}: a pickle runs code when read: stage the adapter without it")
            config = self._copy_served(folder, copy, folder.name)
            if os.path.lexists(folder / BUNDLE):
                self._copy(self._inside(folder / BUNDLE), bundle, JSON)
        except BadInput:
            if self._stamp(folder.name) == stamp:
                raise
            config = None
        if self._stamp(folder.name) == stamp:
            return config
        del self._judged[folder.name]  # looked at again
        return None

    def _copy_served(self, folder: Path, copy: Path, name: str) -> dict[str, Any]:
        """Copy the files that are served, and return adapter_config.json's content.

        The weights' header is checked before they are copied: it gives their number of bytes.
        """
        config, weights = SERVED
        self._copy(self._inside(folder / config), copy / config, LARGEST_CONFIG)
        content = check_config(copy / config, self._model, self._modules, self._max_rank, name)
        source = self._inside(folder / weights)
        offset, header = check_header(source, content, self._modules, self._layers, name)
        self._copy(source, copy / weights, offset + max(entry["data_offsets"][1] for entry in header.values()))
        return content

    def _copy(self, source: Path, target: Path, most: int) -> None:
        try:
            with (
                open_regular(source, most=most, below=self._folder, mend=AGAIN) as file,
                open(target, "wb") as copy,
            ):
                shutil.copyfileobj(file, copy)
        except BadInput:
            raise
        except OSError as error:
            raise BadInput(f"{source}: {error.strerror}: {AGAIN}") from None

    def _inside(self, path: Path) -> Path:
        """Return the path that links lead to. Raises `BadInput` if it lies outside of the model store."""
        try:
            found = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            raise BadInput(f"{path}: {getattr(error, 'strerror', error)}: {AGAIN}") from None
        if not found.is_relative_to(self._folder):
            raise BadInput(f"{path}: a link out of the model store: stage the files themselves")
        return found


def _check_bundle(bundle: Path, folder: Path, digests: dict[str, str]) -> None:
    """Refuse files other than those that the adapter's attestation names, where it has one: the copy `bundle`."""
    if not bundle.exists():
        return
    try:
        last = last_steps(read_bundle(bundle))
        staged_name(last)
    except (Malformed, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{bundle}: cannot be read ({reason}): {AGAIN}") from None
    made = {Path(path).name: digest for path, digest in last[0].made.items()}
    for file, digest in digests.items():
        if made.get(file) != digest:
            raise BadInput(f"{folder / file}: not the bytes that were staged: build the adapter again (make)")
