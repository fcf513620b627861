"""Say at the end which tests were skipped: for want of programs in one line, with the command that installs them.

A test that lacks a program skips with `wanting(…)`. Where several runs share the work, each writes its reasons to the
file that SKIPS_FILE names, and `python tests/support/skipped.py FILE` tells those of all.
"""

import collections
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

# Debian's packages, where they are not named as the program.
PACKAGES = {
    "bwrap": "bubblewrap", "dockerd": "docker.io", "munged": "munge", "newuidmap": "uidmap", "sbatch": "slurm-client",
    "setpriv": "util-linux", "srun": "slurm-client",
}  # fmt: skip
INSTALL = "apt-get install"
WANT = re.compile(rf"needs .+: {INSTALL} (.+)")
FILE = "SKIPS_FILE"


def wanting(*programs: str) -> str:
    """Return the reason to skip a test that needs these programs; an empty one where each is there."""
    missing = [program for program in programs if not shutil.which(program)]
    packages = dict.fromkeys(PACKAGES.get(program, program) for program in missing)
    return f"needs {', '.join(missing)}: {INSTALL} {' '.join(packages)}" if missing else ""


def lines(reasons: Iterable[str]) -> list[str]:
    """Return what is said of tests that were skipped for these reasons, one of each test: the same reason once."""
    counts = collections.Counter(reasons)
    wants = {reason: found[1].split() for reason in counts if (found := WANT.fullmatch(reason))}
    said = [f"skipped {_tests(count)}: {reason}" for reason, count in sorted(counts.items()) if reason not in wants]
    if wants:
        packages = sorted({package for names in wants.values() for package in names})
        count = sum(counts[reason] for reason in wants)
        said.append(f"skipped {_tests(count)} for want of {', '.join(packages)}: {INSTALL} {' '.join(packages)}")
    return said


def _tests(count: int) -> str:
    return "1 test" if count == 1 else f"{count} tests"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why tests were skipped, or leave it to whoever set SKIPS_FILE."""
    skips = terminalreporter.stats.get("skipped", [])
    reasons = [str(skip.longrepr[2]).removeprefix("Skipped: ") for skip in skips]
    if file := os.environ.get(FILE):
        with open(file, "a", encoding="utf-8") as text:
            text.writelines(f"{' '.join(reason.split())}\n" for reason in reasons)
        return
    for line in lines(reasons):
        terminalreporter.write_line(line)


if __name__ == "__main__":
    for said in lines(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()):
        print(said)
