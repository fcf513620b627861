"""Check everything that a build and its server will need, before hours are spent: one line each, ok, warn or FAIL.

Ends with 1 if anything is wrong; each FAIL has its mend. Nothing is built, pulled or started.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from adapter_build.core.faults import BadInput, run, say
from adapter_build.doctor.build_checks import Finding, Job, adapters, data, images, keys
from adapter_build.doctor.machine_checks import disk, docker, gpu, isolation, lineage, port
from adapter_build.models.base_model import base_model
from adapter_build.workflow.configuration import check, overlaid

CHECKS = (data, keys, disk, gpu, docker, isolation, images, lineage, adapters, port)


def main() -> None:
    """Print the findings of each check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default=[Path("config.yaml")], nargs="+", type=Path, help="the file, then overlays")
    parser.add_argument("--results", default=Path("results"), type=Path, help="what was built (default: results)")
    options = parser.parse_args()
    wrong = 0
    for name, (level, text) in _findings(options.config, options.results):
        say(f"{level:<5} {name:<9} {text}")
        wrong += level == "FAIL"
    if wrong:
        print(f"{wrong} to mend")
        sys.exit(1)


def _findings(paths: Sequence[Path], results: Path) -> Iterator[tuple[str, Finding]]:
    """Yield each check's name and findings; of a wrong configuration its fault alone."""
    try:
        config = overlaid(*paths)
        lock = check(config)
        job = Job(config, base_model(config["base"], lock), lock, results)
    except (OSError, BadInput) as fault:
        yield "config", ("FAIL", " ".join(f"{fault}".split()))
        return
    served = f"{', '.join(config['adapters'])} on {config['base']['name']}, served by {config['deploy']['engine']}"
    yield "config", ("ok", served)
    for look in CHECKS:
        try:
            yield from ((look.__name__, finding) for finding in look(job))
        except BadInput as fault:
            yield look.__name__, ("FAIL", " ".join(str(fault).split()))


if __name__ == "__main__":
    run(main)
