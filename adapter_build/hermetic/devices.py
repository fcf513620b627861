"""The class of the device that a step computes on: within one, the same inputs give the same bytes."""

import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.environments import lock_file

# The levels of the x86-64 psABI, highest first, by what tells each from the one below it.
LEVELS = (("v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}), ("v3", {"avx2", "bmi2", "fma"}))

CPUINFO = Path("/proc/cpuinfo")
GPU_FILES = ("nvidia*", "dri", "infiniband", "gdrdrv")  # NVIDIA's, display's, RDMA between machines, GPUDirect
# What tells two processors of one class apart: our word, and that of /proc/cpuinfo, of x86 and of ARM.
CPU_FACTS = (
    ("vendor", "CPU implementer"), ("family", "CPU architecture"), ("model", "CPU part"),
    ("vendor", "vendor_id"), ("family", "cpu family"), ("model", "model"), ("name", "model name"),
)  # fmt: skip


def device_class(devices: int) -> str:
    """Return `cpu-<architecture>`, with its level where libraries choose their kernels by it, or the GPUs' names."""
    if devices:
        return f"gpu-{_gpus(devices)}"
    machine = platform.machine()
    if machine != "x86_64":
        return f"cpu-{machine}"
    return f"cpu-x86-64-{next((name for name, flags in LEVELS if flags <= _flags()), 'v2')}"


def gpu_facts(devices: int, environment: str) -> dict[str, str]:
    """Return the card, its driver, and PyTorch and CUDA as the environment's lock has them; {} for a step without GPUs.

    More than the class tells, for whoever asks why two cards of one class gave other bytes: none of it is in a key.
    """
    if not devices:
        return {}
    drivers = _asked("driver_version", devices)
    locked = re.findall(
        r"^(torch|nvidia-cuda-runtime\S*|nvidia-cudnn\S*)===?(\S+)", lock_file(environment).read_text(), re.M
    )
    return {"card": _gpus(devices), "driver": "+".join(dict.fromkeys(drivers)), **dict(locked)}


def cpu_facts() -> dict[str, str]:
    """Return who made this processor, its family and model, and its name, as the system tells them; in no key either.

    Libraries choose their kernels by them too: two processors of one class may give other bytes.
    """
    told = _cpuinfo()
    facts = {name: told[field] for name, field in CPU_FACTS if told.get(field)}
    return facts or {"name": platform.processor() or platform.machine()}


def cpu_named(facts: Mapping[str, str]) -> str:
    """Return a processor in words: who made it, its family and model."""
    numbers = [f"{name} {facts[name]}" for name in ("family", "model") if facts.get(name)]
    return " ".join([facts.get("vendor") or facts.get("name") or "an unnamed processor", *numbers])


def device_files() -> list[str]:
    """Return the files and folders of /dev that speak to GPUs and to the network between them."""
    return sorted(str(path) for pattern in GPU_FILES for path in Path("/dev").glob(pattern))


def _flags() -> set[str]:
    return set(_cpuinfo().get("flags", "").split())


def _cpuinfo() -> dict[str, str]:
    """Return what the system says of the first processor; nothing where it says nothing."""
    try:
        first = CPUINFO.read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}


def _gpus(devices: int) -> str:
    return "+".join(_asked("name", devices))


def _asked(what: str, devices: int) -> list[str]:
    query = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
    try:
        answers = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        raise BadInput("it asks for GPUs, but nvidia-smi does not answer: set devices: 0, or mend the driver") from None
    return answers[:devices]
