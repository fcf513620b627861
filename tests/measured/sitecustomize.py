"""Measure what a process covers that starts with this folder on PYTHONPATH, as `make coverage` starts the tests.

It is the coverage of .venvs/checks, whichever environment the process is of: all have one Python. Builds know nothing
of it, nor do steps that a sandbox holds.
"""

import os
import sys

OURS = ("adapter_build", "scripts", "tests", "pytest", "snakemake")  # in a command line; others cost time alone


def measure() -> None:
    """Measure this process from here on, if it is one of ours and may read the one folder and write to the other."""
    packages, data = (os.environ.get(name, "") for name in ("COVERAGE_PACKAGES", "COVERAGE_DATA"))
    allowed = os.access(packages, os.R_OK | os.X_OK) and os.access(data, os.R_OK | os.W_OK | os.X_OK)
    if allowed and any(part in word for part in OURS for word in sys.orig_argv[1:]):
        sys.path.append(packages)
        import coverage

        sys.path.remove(packages)
        coverage.process_startup()


if not any(word.endswith("fork_server.py") for word in sys.orig_argv):  # its children measure themselves
    measure()
