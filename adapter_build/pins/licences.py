"""Licences that every locked version states, for containers/licences.yaml: read by pip, which installs nothing.

No metadata names the compiled code of others that a wheel carries: BUNDLED names what is known of it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from cyclonedx.spdx import fixup_id

from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.faults import BadInput
from adapter_build.hermetic.environments import CONTAINERS, lock_path
from adapter_build.pins.advisories import read_locks

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


def write_list() -> int:
    """Write LISTED from the metadata of every lock's packages; return how many versions it has. Raises `BadInput`."""
    found: dict[str, dict[str, list[str]]] = {}
    for environment in read_locks():
        for metadata in _metadata(lock_path(environment)):
            name = metadata["name"].lower().replace("_", "-").replace(".", "-")
            found.setdefault(name, {})[metadata["version"]] = licences(metadata)
    listed = {"packages": found, "bundled": {name: BUNDLED[name] for name in sorted(BUNDLED.keys() & found.keys())}}
    write_atomically(LISTED, HEAD + yaml.safe_dump(listed, width=120, allow_unicode=True, default_flow_style=None))
    return sum(map(len, found.values()))


def licences(metadata: dict[str, Any]) -> list[str]:
    """Return the licences in a package's metadata: its expression, else its licence by name, else its classifiers."""
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
