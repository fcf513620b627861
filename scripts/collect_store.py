"""List what in the store no current target needs, with sizes; with --yes, delete it.

The store is the one that store.path of the configuration in force names. A target needs what the last run of each of
its steps made. Nothing is deleted while a build uses the store.
"""

import argparse
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

from faults import BadInput, run
from hermetic import attestation
from planned_steps import plan


def main() -> None:
    """Find what is reachable, list the rest, delete it if told to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yes", action="store_true", help="delete what is listed")
    parser.add_argument("snakemake", nargs="*", help="after --: options of Snakemake, such as --configfile")
    arguments = parser.parse_args()
    planned = plan(arguments.snakemake)
    if not planned.settings["STEP_STORE"]:
        print("no store: store.path is empty")
        return
    store = Path(planned.settings["STEP_STORE"])
    if not store.is_dir():
        print(f"{store}: no store there")
        return
    keys = {_key(step) for step in planned.calls}
    if keys == {None}:
        raise BadInput(f"no step of this configuration has run here, so nothing says what of {store} is needed: make")
    with open(store / "in-use", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{store} is in use by a build: wait until it has ended") from None
        total = 0
        for path in sorted(unreachable(store, keys)):
            size = path.stat().st_size
            total += size
            print(f"{size / 1e6:10.1f} MB  {path}")
            if arguments.yes:
                path.unlink()
    kept = "deleted" if arguments.yes else "needed by no target; make gc YES=1 deletes it"
    print(f"{total / 1e6:10.1f} MB  {kept}")


def _key(step: str) -> str | None:
    last = attestation.read(step)
    return last["predicate"]["buildDefinition"]["internalParameters"]["actionKey"] if last else None


def unreachable(store: Path, keys: set[str | None]) -> Iterator[Path]:
    """Yield every file of the store that belongs to no action of these keys, what killed writers left included."""
    needed: set[str] = set()
    for path in store.glob("actions/*/*.json"):
        if path.stem in keys:
            outputs = json.loads(path.read_text())["outputs"]
            needed |= {digest for digests in outputs.values() for digest in digests}
        else:
            yield path
    for path in store.glob("objects/*/*"):
        if path.name not in needed:
            yield path
    yield from store.glob("actions/*/.part-*")


if __name__ == "__main__":
    run(main)
