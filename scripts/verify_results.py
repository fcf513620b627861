"""Check that every artifact is what its step left: Snakemake looks at clocks, and skips a file that was altered.

Files that are as they were when they were last hashed are not read again; STEP_PARANOID=1 reads all.
"""

import argparse
import sys
from pathlib import Path

from faults import run, say
from hermetic.artifacts import artifacts
from hermetic.digest_cache import cached_digest
from lineage import made, read_lineage
from removal import removal


def main() -> None:
    """Compare every artifact with its attestation; name what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    results = parser.parse_args().results
    attested = made(read_lineage(results))
    found = 0
    for path in artifacts(results):
        digest = attested.get(path.relative_to(results.parent).as_posix())
        if digest and cached_digest(path) != digest:
            found += 1
            say(f"error: {path} is not what its step made (sha256 {digest[:8]}…): {removal(path)}", error=True)
    sys.exit(2 if found else 0)


if __name__ == "__main__":
    run(main)
