"""Pin the base models of data.lock.yaml: fetch each file that has no sha256 once, show old → new, and write it there.

Only the values change: comments, order and layout of the file stay. Needs the network, and room in TMPDIR for the
largest file; a gated model needs HF_TOKEN of an account that has accepted its licence.
"""

import argparse
from pathlib import Path

import yaml

from adapter_build.core.faults import BadInput, run
from adapter_build.pins.data_pins import is_pinned, pin_base


def main() -> None:
    """Pin the bases named, by default all that are not pinned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=Path("data.lock.yaml"), help="the lock to complete")
    parser.add_argument("--base", nargs="+", default=[], help="pin these, even if they are pinned")
    arguments = parser.parse_args()
    bases = (yaml.safe_load(arguments.lock.read_text(encoding="utf-8")) or {}).get("bases") or {}
    for name in arguments.base:
        if name not in bases:
            raise BadInput(f"{arguments.lock} has no base {name} (it has: {', '.join(bases) or 'none'})")
    chosen = arguments.base or [name for name, entry in bases.items() if not is_pinned(arguments.lock, name, entry)]
    if not chosen:
        print(f"{arguments.lock}: every base is pinned")
    for name in chosen:
        pin_base(arguments.lock, name, bases[name])


if __name__ == "__main__":
    run(main)
