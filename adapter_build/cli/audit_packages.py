"""Check the packages of every lock: each lock is reviewed as it stands, and each known advisory has a reviewed reason.

containers/advisories.yaml holds the review. A line says where no advisory service answers: then the review is checked
alone.
"""

import datetime
import sys

from adapter_build.core.faults import run
from adapter_build.pins.advisories import (
    REVIEW,
    STALE,
    ask,
    read_locks,
    read_review,
    stale_exceptions,
    unlisted,
    unreviewed,
    version_pairs,
)


def main() -> None:
    """Print one `error:` line for each fault and end with exit code 2, or print how much was checked."""
    locks = read_locks()
    reviewed, digests, exceptions = read_review()
    faults = [*unreviewed(digests), *stale_exceptions(exceptions, locks)]
    found = ask(locks)
    if found is None:
        print(
            "  advisories: not asked: no advisory service answers; what was reviewed is checked alone", file=sys.stderr
        )
        if (age := datetime.date.today() - reviewed) > STALE:
            print(f"  advisories: {REVIEW}: reviewed {age.days} days ago: review it where one answers", file=sys.stderr)
    else:
        faults += unlisted(found, exceptions, locks)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if faults:
        sys.exit(2)
    versions = len(version_pairs(locks))
    print(f"  packages: {versions} versions in {len(locks)} locks, {len(exceptions)} reviewed reasons", file=sys.stderr)


if __name__ == "__main__":
    run(main)
