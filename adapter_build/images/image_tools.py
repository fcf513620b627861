"""What building images is made of: programs of the system, called into a log, the same bytes every time."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.terminal import StatusLine

PREFIX = "localhost/adapter-build"
EPOCH = 1735689600  # 2025-01-01: the time of every file in an image
# Docker's own format holds the random name of the container that an image was built in, and the history any name that
# the base happens to have on this machine.
SAME_BYTES = ("--timestamp", str(EPOCH), "--format", "oci", "--layers=false", "--omit-history")


def need(program: str) -> None:
    """Raise `BadInput` unless `program` is installed."""
    if not shutil.which(program):
        raise BadInput(f"{program} is not installed, which `make images` uses: sudo apt-get install {program}")


def on_this_machine(registry: str) -> bool:
    """Whether a registry is on loopback, where engines and tools take it without TLS."""
    return registry.startswith(("127.", "localhost:"))


def call(command: list[str], log: Path, label: str) -> None:
    """Run a command into the log, with a line that says how long it takes. Raises `BadInput` with its last line."""
    status = StatusLine()
    began = time.monotonic()
    with open(log, "a", encoding="utf-8") as lines:
        lines.write(f"$ {' '.join(command)}\n")
        lines.flush()
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=lines, stderr=subprocess.STDOUT, env=environment
        ) as child:
            while child.poll() is None:
                status.show(f"  {label} … ({time.monotonic() - began:.0f} s)")
                time.sleep(0.2)
    status.finish()
    if child.returncode:
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise BadInput(f"{label}: {said[-1]} (log: {log})")
