"""Check that configuration files can be read: Snakemake does not name the one that it cannot read.

python -m adapter_build.cli.check_configuration config.yaml OVERLAY…
"""

import sys
from pathlib import Path

from adapter_build.core.faults import run
from adapter_build.workflow.configuration import overlaid


def main() -> None:
    """Read the files of the command line, each over those before it."""
    overlaid(*map(Path, sys.argv[1:]))


if __name__ == "__main__":
    run(main)
