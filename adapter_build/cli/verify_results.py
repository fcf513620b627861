"""Check that every artifact has the bytes that its step made: Snakemake compares times, and misses an altered file.

Attestations that this builder's key signed must be unaltered. `make audit ASK=verify` proves more. Files whose stat is
unchanged since they were last hashed are not read again; STEP_PARANOID=1 reads all.
"""

import argparse
import sys
from pathlib import Path

from adapter_build.audit.signing_key import trusted
from adapter_build.core.faults import run, say
from adapter_build.core.printable import removal
from adapter_build.hermetic.envelope import signer
from adapter_build.hermetic.input_digests import cached_digest
from adapter_build.hermetic.keys import public_key
from adapter_build.lineage.attested_steps import made, read_lineage
from adapter_build.lineage.results_folder import artifacts


def main() -> None:
    """Compare every artifact with its attestation; print a line for each that differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    results = parser.parse_args().results
    steps = read_lineage(results)
    attested = made(steps)
    keys = [public_key(path) for path in trusted(Path("config.yaml"))[0]]
    own = {key.id for key in keys}
    found = 0
    for step in steps.values():
        if own.intersection(entry.get("keyid") for entry in step.envelope["signatures"]) and not signer(
            step.envelope, keys
        ):
            found += 1
            path = results / "lineage" / f"{step.name}.json"
            say(f"error: {path} was changed after it was signed: {removal(path)}", error=True)
    for path in artifacts(results):
        digest = attested.get(path.relative_to(results.parent).as_posix())
        if digest and cached_digest(path) != digest:
            found += 1
            say(f"error: {path} is not what its step made (sha256 {digest[:8]}…): {removal(path)}", error=True)
    sys.exit(2 if found else 0)


if __name__ == "__main__":
    run(main)
