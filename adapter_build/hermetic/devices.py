"""Device classes: on two machines of one class, a step makes the same bytes of the same inputs."""

import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.environments import lock_file

# The levels of the x86-64 psABI, highest first, each with flags that the level below lacks.
LEVELS = (("v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}), ("v3", {"avx2", "bmi2", "fma"}))

CPUINFO = Path("/proc/cpuinfo")
GPU_FILES = ("nvidia*", "dri", "infiniband", "gdrdrv")  # NVIDIA's, display's, RDMA between machines, GPUDirect
# Facts that tell processors of one class apart: our name, and that of /proc/cpuinfo, on ARM and on x86.
CPU_FACTS = (
    ("vendor", "CPU implementer"), ("family", "CPU architecture"), ("model", "CPU part"),
    ("vendor", "vendor_id"), ("family", "cpu family"), ("model", "model"), ("name", "model name"),
)  # fmt: skip


def device_class(devices: int) -> str:
    """Return `cpu-<architecture>`, on x86-64 with the level by which libraries choose kernels, or `gpu-<names>`.

    Raises `BadInput` where nvidia-smi does not answer for the `devices` GPUs.
    """
    if devices:
        return f"gpu-{_gpus(devices)}"
    machine = platform.machine()
    if machine != "x86_64":
        return f"cpu-{machine}"
    return f"cpu-x86-64-{next((name for name, flags in LEVELS if flags <= _flags()), 'v2')}"


def gpu_facts(devices: int, environment: str) -> dict[str, str]:
    """Return card, driver, and the versions of PyTorch and CUDA in the environment's lock; {} for a step without GPUs.

    They explain why two cards of one class may make different bytes, and are in no key. Raises `BadInput`.
    """
    if not devices:
        return {}
    drivers = _asked("driver_version", devices)
    locked = re.findall(
        r"^(torch|nvidia-cuda-runtime\S*|nvidia-cudnn\S*)===?(\S+)", lock_file(environment).read_text(), re.M
    )
    return {"card": _gpus(devices), "driver": "+".join(dict.fromkeys(drivers)), **dict(locked)}


def cpu_facts() -> dict[str, str]:
    """Return vendor, family, model and name of this processor, as far as the system tells them; they are in no key.

    Libraries choose kernels by them too: two processors of one class may make different bytes.
    """
    told = _cpuinfo()
    facts = {name: told[field] for name, field in CPU_FACTS if told.get(field)}
    return facts or {"name": platform.processor() or platform.machine()}


def cpu_named(facts: Mapping[str, str]) -> str:
    """Return a processor in words: vendor, family and model."""
    numbers = [f"{name} {facts[name]}" for name in ("family", "model") if facts.get(name)]
    return " ".join([facts.get("vendor") or facts.get("name") or "an unnamed processor", *numbers])


def device_files() -> list[str]:
    """Return the files and folders of /dev for GPUs and the network between them."""
    return sorted(str(path) for pattern in GPU_FILES for path in Path("/dev").glob(pattern))


def _flags() -> set[str]:
    return set(_cpuinfo().get("flags", "").split())


def _cpuinfo() -> dict[str, str]:
    """Return the fields of /proc/cpuinfo for the first processor; {} where it cannot be read."""
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
        raise BadInput("it needs GPUs, but nvidia-smi does not answer: set devices: 0, or repair the driver") from None
    return answers[:devices]
