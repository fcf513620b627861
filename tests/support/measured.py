"""Variables by which a process with an environment of its own is measured, if its parent is (tests/measured)."""

import os

COVERAGE = ("COVERAGE_DATA", "COVERAGE_PACKAGES", "COVERAGE_PROCESS_START")
MEASURED = {name: os.environ[name] for name in COVERAGE if name in os.environ}


def python_path(*folders: object) -> dict[str, str]:
    """Return the variables of a Python that imports from `folders`, and is measured if this one is."""
    path = [*map(str, folders), *([os.environ["PYTHONPATH"]] if MEASURED else [])]
    return {**MEASURED, **({"PYTHONPATH": os.pathsep.join(path)} if path else {})}
