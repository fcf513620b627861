"""Write containers/licences.yaml: the licences that every locked version states, read by pip without installing any.

`make lock` runs this. What a wheel carries of others' compiled code is in no metadata: BUNDLED names what we know.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from cyclonedx.spdx import fixup_id

from adapter_build.core.atomic_file import write_whole
from adapter_build.core.faults import BadInput, run
from adapter_build.hermetic.environments import CONTAINERS, lock_path
from adapter_build.pins.audit_packages import read_locks

LISTED = CONTAINERS / "licences.yaml"
LONGEST = 80  # of a licence's name; longer is its text
HEAD = """\
# Written by `make lock`: the licences of every locked version, as its metadata states them, by SPDX expression or name;
# [] where it states none. `bundled` is what wheels carry of others' compiled code.
"""
RUNTIME = "GPL-3.0-or-later WITH GCC-exception-3.1"
BUNDLED = {
    "torch": {"libgomp": RUNTIME, "oneMKL (linked into libtorch_cpu)": "Intel Simplified Software License"},
    "numpy": {"libgfortran": RUNTIME, "OpenBLAS": "BSD-3-Clause"},
    "scipy": {"libgfortran": RUNTIME, "OpenBLAS": "BSD-3-Clause"},
    "scikit-learn": {"libgomp": RUNTIME},
    "opencv-python-headless": {"FFmpeg": "LGPL-2.1-or-later"},
    "ijson": {"yajl": "ISC"},
    "pyzmq": {"libzmq": "MPL-2.0"},
    "mecab-python3": {"MeCab": "BSD-3-Clause"},
}


def main() -> None:
    """Read the metadata of each lock's packages and write the list."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found: dict[str, dict[str, list[str]]] = {}
    for environment in read_locks():
        for metadata in _metadata(lock_path(environment)):
            name = metadata["name"].lower().replace("_", "-").replace(".", "-")
            found.setdefault(name, {})[metadata["version"]] = licences(metadata)
    listed = {"packages": found, "bundled": {name: BUNDLED[name] for name in sorted(BUNDLED.keys() & found.keys())}}
    write_whole(LISTED, HEAD + yaml.safe_dump(listed, width=120, allow_unicode=True, default_flow_style=None))
    print(f"{LISTED}: {sum(map(len, found.values()))} versions")


def licences(metadata: dict[str, Any]) -> list[str]:
    """Return what a package's metadata states: its expression, else its licence by name, else its classifiers."""
    if expression := metadata.get("license_expression"):
        return [expression]
    stated = next(iter((metadata.get("license") or "").strip().splitlines()), "").strip()
    known = fixup_id(stated)
    labels = [one.split(" :: ")[-1] for one in metadata.get("classifier", []) if one.startswith("License :: ")]
    if known or (not labels and stated and len(stated) <= LONGEST and stated != "UNKNOWN"):
        return [known or stated]
    if stated and labels in (["Other/Proprietary License"], ["OSI Approved"]):
        return [stated]
    return sorted({*labels} - {"OSI Approved"})


def _metadata(lock: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--require-hashes",
            "--quiet", "--report", report, "--requirement", lock,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BadInput(f"{lock}: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}: check the network")
        return [one["metadata"] for one in json.loads(report.read_text("utf-8"))["install"]]


if __name__ == "__main__":
    run(main)
