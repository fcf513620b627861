"""Write containers/licences.yaml: the licences that every locked version states. `make lock` runs this."""

import argparse

from adapter_build.core.faults import run
from adapter_build.pins.licences import LISTED, write_list


def main() -> None:
    """Write the list and print how many versions it has."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    versions = write_list()
    print(f"{LISTED}: {versions} versions")


if __name__ == "__main__":
    run(main)
