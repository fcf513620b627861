"""List the garbage that no current target needs, with sizes; with --yes, delete it.

Garbage is what the store (store.path of the configuration in force) holds beyond the last run of each step of a target,
and resume state of killed steps that are no target's, or that have ended since. Nothing is deleted while a build uses
the store.
"""

import argparse
import contextlib
from collections.abc import Iterable
from pathlib import Path

from adapter_build.core.faults import BadInput, run, say
from adapter_build.hermetic.resume_state import stale_files
from adapter_build.hermetic.store_sweep import last_keys, unreachable, unused
from adapter_build.workflow.planned_steps import plan


def main() -> None:
    """List the garbage of store and resume state, and delete it if told to."""
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
    found = [*stale_files(planned.calls)]
    with contextlib.ExitStack() as held:
        if name and store.is_dir():
            keys = last_keys(planned.calls)
            if not keys:
                raise BadInput(
                    f"no step of this configuration has run here, so nothing says what of {store} is needed: make"
                )
            held.enter_context(unused(store))
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


if __name__ == "__main__":
    run(main)
