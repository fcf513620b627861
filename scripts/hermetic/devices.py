"""The class of the device that a step computes on: within one, the same inputs give the same bytes."""

import platform
import subprocess
from pathlib import Path

from faults import BadInput

# The levels of the x86-64 psABI, highest first, by what tells each from the one below it.
LEVELS = (("v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}), ("v3", {"avx2", "bmi2", "fma"}))


def device_class(devices: int) -> str:
    """Return `cpu-<architecture>`, with its level where libraries choose their kernels by it, or the GPUs' names."""
    if devices:
        return f"gpu-{_gpus(devices)}"
    machine = platform.machine()
    if machine != "x86_64":
        return f"cpu-{machine}"
    return f"cpu-x86-64-{next((name for name, flags in LEVELS if flags <= _flags()), 'v2')}"


def _flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()


def _gpus(devices: int) -> str:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        names = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        raise BadInput("it asks for GPUs, but nvidia-smi does not answer: set devices: 0, or mend the driver") from None
    return "+".join(names[:devices])
