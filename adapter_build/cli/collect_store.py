"""List what in the store no current target needs, with sizes; with --yes, delete it.

The store is the one that store.path of the configuration in force names. A target needs what the last run of each of
its steps made. Nothing is deleted while a build uses the store. What a killed step left to resume from is listed too,
if its step is none of a target's or has ended since.
"""

import argparse
import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from adapter_build.core.faults import BadInput, run, say
from adapter_build.core.printable import removal
from adapter_build.core.regular_file import read_regular
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic import attestation
from adapter_build.hermetic.kept import outlived
from adapter_build.hermetic.lease import lock_file
from adapter_build.hermetic.store import LONGEST_RECORD, parse_record
from adapter_build.workflow.planned_steps import plan


def main() -> None:
    """Find what is reachable, list the rest, delete it if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yes", action="store_true", help="delete what is listed")
    parser.add_argument("snakemake", nargs="*", help="after --: options of Snakemake, such as --configfile")
    arguments = parser.parse_args()
    planned = plan(arguments.snakemake)
    if not planned.calls:  # of no step anything is needed: that would be all there is
        raise BadInput(
            "these targets have no steps, so nothing says what is needed: name files of results/, or no target"
        )
    name = planned.settings["STEP_STORE"]
    store = Path(name)
    found = [*outlived(planned.calls)]
    with contextlib.ExitStack() as held:
        if name and store.is_dir():
            keys = {key for step in planned.calls if (key := _key(step))}
            if not keys:
                raise BadInput(
                    f"no step of this configuration has run here, so nothing says what of {store} is needed: make"
                )
            try:
                lock = held.enter_context(lock_file(store / "in-use"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(f"{store} is in use by a build: wait until it has ended") from None
            except OSError as error:
                raise BadInput(f"{store}/in-use: {error.strerror}: {removal(store / 'in-use', '')}") from None
            found += unreachable(store, keys)
        else:
            print(f"{store}: no store there" if name else "no store: store.path is empty")
            if not found:
                return
        _sweep(sorted(found), delete=arguments.yes)


def _sweep(paths: Iterable[Path], delete: bool) -> None:
    total = 0
    for path in paths:
        size = path.lstat().st_size
        total += size
        say(f"{size / 1e6:10.1f} MB  {path}")
        if delete:
            path.unlink()
    print(f"{total / 1e6:10.1f} MB  {'deleted' if delete else 'needed by no target; make gc YES=1 deletes it'}")


def _key(step: str) -> str | None:
    """Return the action key of a step's last run; None where it has not run. Raises `BadInput` for a broken record."""
    path = attestation.LINEAGE / f"{step}.json"
    last = attestation.read(step)
    try:
        return (
            last["predicate"]["buildDefinition"]["internalParameters"]["actionKey"] if last or path.exists() else None
        )
    except (KeyError, TypeError):
        raise BadInput(f"{path}: cannot be read, so nothing says what {step} needs: {removal(path)}") from None


def unreachable(store: Path, keys: set[str]) -> Iterator[Path]:
    """Yield every file of the store that belongs to no action of these keys, what killed writers left included.

    A record that cannot be read needs nothing: its step runs anew. No link is followed: it is listed itself.
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


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, and every link, wherever that leads."""
    if folder.is_symlink():
        yield folder
    for inner, folders, names in os.walk(folder, onerror=None) if not folder.is_symlink() else ():
        yield from (Path(inner, name) for name in folders if Path(inner, name).is_symlink())
        yield from (Path(inner, name) for name in names)


if __name__ == "__main__":
    run(main)
