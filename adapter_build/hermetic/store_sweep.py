"""Sweep of the store: the files that belong to no action of the given keys, while no build uses the store."""

import contextlib
import fcntl
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.core.printable import removal
from adapter_build.core.regular_file import read_regular
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic import attestation
from adapter_build.hermetic.liveness_lock import lock_file
from adapter_build.hermetic.store import LONGEST_RECORD, parse_record


@contextlib.contextmanager
def unused(store: Path) -> Generator[None]:
    """Keep builds out of a store. Raises `BadInput` while one uses it."""
    with contextlib.ExitStack() as held:
        try:
            lock = held.enter_context(lock_file(store / "in-use"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{store} is in use by a build: wait until it has ended") from None
        except OSError as error:
            raise BadInput(f"{store}/in-use: {error.strerror}: {removal(store / 'in-use', '')}") from None
        yield


def last_keys(steps: Iterable[str]) -> set[str]:
    """Return the action keys of the steps' last runs. Raises `BadInput` for an attestation that cannot be read."""
    return {key for step in steps if (key := _last_key(step))}


def unreachable(store: Path, keys: set[str]) -> Iterator[Path]:
    """Yield every file of the store that belongs to no action of these keys, leftovers of killed writers included.

    A record that cannot be read needs nothing: its step runs anew. A link is not followed but yielded itself.
    """
    needed: set[str] = set()
    for path in _files(store / "actions"):
        hit = None
        with contextlib.suppress(Malformed, OSError):
            hit = parse_record(read_regular(path, LONGEST_RECORD, below=store)) if path.stem in keys else None
        if hit:
            needed |= {digest for digests in hit.outputs.values() for digest in digests}
        else:
            yield path
    yield from (path for path in _files(store / "objects") if path.name not in needed)


def _last_key(step: str) -> str | None:
    """Return the action key of a step's last run; None where it has not run. Raises `BadInput` for a broken record."""
    path = attestation.LINEAGE / f"{step}.json"
    last = attestation.read(step)
    if not last and not path.exists():
        return None
    with contextlib.suppress(KeyError, TypeError):
        return (last or {})["predicate"]["buildDefinition"]["internalParameters"]["actionKey"]
    raise BadInput(f"{path}: cannot be read, so nothing says what {step} needs: {removal(path)}")


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, and every link, wherever that leads."""
    if folder.is_symlink():
        yield folder
    for inner, folders, names in os.walk(folder, onerror=None) if not folder.is_symlink() else ():
        yield from (Path(inner, name) for name in folders if Path(inner, name).is_symlink())
        yield from (Path(inner, name) for name in names)
