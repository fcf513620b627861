"""Pin the datasets of data.lock.yaml: fetch each that has no sha256 once, show old → new, and write it there.

Only the values change: comments, order and layout of the file stay. Needs the network; a token comes from HF_TOKEN.
"""

import argparse
from pathlib import Path

from adapter_build.core.faults import BadInput, run
from adapter_build.pins.data_pins import pin_dataset
from adapter_build.records.data_lock import read_datasets


def main() -> None:
    """Pin the datasets named, by default all that have no sha256."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=Path("data.lock.yaml"), help="the lock to complete")
    parser.add_argument("--dataset", nargs="+", default=[], help="pin these, even if they have a sha256")
    arguments = parser.parse_args()
    datasets = read_datasets(arguments.lock)
    for name in arguments.dataset:
        if name not in datasets:
            raise BadInput(f"{arguments.lock} has no dataset {name} (it has: {', '.join(datasets) or 'none'})")
    chosen = [datasets[name] for name in arguments.dataset] or [d for d in datasets.values() if not d.sha256]
    if not chosen:
        print(f"{arguments.lock}: every dataset is pinned")
    for dataset in chosen:
        pin_dataset(arguments.lock, dataset)


if __name__ == "__main__":
    run(main)
