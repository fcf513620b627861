"""Checks of this machine by `make doctor`: disks, GPUs, Docker, the port. Each FAIL comes with its mend."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.core.ports import free_port
from adapter_build.core.strict_json import read_object
from adapter_build.doctor.build_checks import Finding, Job
from adapter_build.hermetic.checkout import ignored_git_variables, own_commit
from adapter_build.hermetic.docker_engine import engine, found
from adapter_build.hermetic.engine_kind import engine_kind
from adapter_build.hermetic.environments import needed
from adapter_build.hermetic.images import confirmed_image
from adapter_build.hermetic.isolation import LESS, UNHELD
from adapter_build.hermetic.runtime import Runtime
from adapter_build.nim.container import NIM, prepare_cache, reader_of
from adapter_build.tuning.gpu_preflight import estimate_of

GB = 10**9
BUILD_BYTES = 12 * GB  # the environments and a small base, as README says
IMAGE_BYTES = 40 * GB  # NIM's, packed and unpacked
CUDA_BYTES = 10 * GB  # PyTorch for CUDA, packed and unpacked
CUDA_DRIVER = 580  # the oldest release that runs CUDA 13, which containers/tune/requirements.cuda.lock has
LORA_SHARE = 1.4  # of the weights' bytes: NIM's list-model-profiles wants 22 GB for 8 billion weights in bf16 with LoRA
CONTEXT = 621 * 2**20  # bytes of an H100 that a process takes before it computes (driver 580, CUDA 13)
QUERY = ["nvidia-smi", "--query-gpu=name,memory.free,driver_version", "--format=csv,noheader,nounits"]


def disk(job: Job) -> Iterator[Finding]:
    """Check for room: the base three times (files, .nemo, store), NIM's weights, and an image that is not here."""
    size = job.base_bytes or 0
    needed = {Path(): BUILD_BYTES + 3 * size + (CUDA_BYTES if job.config["devices"] else 0)}
    if job.nim:
        reader = NIM
        # That an engine answers is checked by `docker`; an engine elsewhere has its own disk.
        with contextlib.suppress(BadInput), engine("deploy.engine: embedded") as client:
            reader = reader_of(engine_kind(client))
            root = Path(client.info()["DockerRootDir"])
            if root.exists() and not found(client, confirmed_image(job.nim["image"])):
                needed[root] = IMAGE_BYTES
        needed[prepare_cache(Path(job.nim["cache"]), reader)] = size
    by_device: dict[int, list[Path]] = {}
    for path in needed:
        by_device.setdefault(path.stat().st_dev, []).append(path)
    for paths in by_device.values():
        wanted, free = sum(needed[path] for path in paths), shutil.disk_usage(paths[0]).free
        text = f"{free / GB:.0f} GB free at {paths[0].absolute()}, {wanted / GB:.0f} GB wanted"
        yield ("ok", text) if free >= wanted else ("FAIL", f"{text}: free some space, or move the folder")


def gpu(job: Job) -> Iterator[Finding]:
    """Check that the driver answers and is new enough, and that enough GPUs have memory for the base."""
    count = max(job.config["devices"], job.nim["gpus"] if job.nim else 0)
    if not count:
        yield "ok", "none is asked for (devices: 0)"
        return
    try:
        said = subprocess.run(QUERY, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        yield from _tuning(job, None, "none")
        raise BadInput(f"{count} wanted, but nvidia-smi does not answer: install the driver") from None
    gpus = [line.split(", ") for line in said.strip().splitlines()]
    if len(gpus) < count:
        raise BadInput(f"{count} wanted, {len(gpus)} there: lower devices and deploy.nim.gpus")
    wanted = LORA_SHARE * (job.base_bytes or 0) / count / 2**20
    for name, free, driver in gpus[:count]:
        text = f"{name}, {int(free):,} MiB free, driver {driver}"
        if int(free) < wanted:
            yield "FAIL", f"{text}: {wanted:,.0f} wanted: end what uses it (nvidia-smi)"
        elif job.config["devices"] and int(driver.split(".")[0]) < CUDA_DRIVER:
            yield "FAIL", f"{text}: {CUDA_DRIVER} or newer wanted by tuning's PyTorch for CUDA 13: install it"
        else:
            yield "ok", text
    if job.config["devices"]:
        card, free, _ = gpus[0]
        yield from _tuning(job, int(free) * 2**20 - CONTEXT, card)


def _tuning(job: Job, free: int | None, card: str) -> Iterator[Finding]:
    """Estimate each adapter's GPU memory in tuning, where the base's config.json is at hand."""
    sources = [path for path in (*job.base.source_files, job.base.config) if Path(path).name == "config.json"]
    found = next((Path(path) for path in sources if Path(path).is_file()), None)
    if not found or not job.config["devices"]:
        return
    for name, adapter in job.config["adapters"].items():
        with contextlib.suppress(KeyError):  # no Llama
            settings = {**adapter, "nodes": job.config["nodes"]}
            try:
                yield "ok", f"{name}: {estimate_of(read_object(found, 'make'), settings, free, card)}"
            except BadInput as fault:
                yield "FAIL", str(fault).replace("adapters.<name>", f"adapters.{name}")


def docker(job: Job) -> Iterator[Finding]:
    """Check that the container engine answers and gives containers GPUs, where they are needed."""
    runtime = job.config["runtime"]
    if not job.nim and runtime != "docker":
        yield "ok", f"not needed (runtime: {runtime}, deploy.engine: embedded)"
        return
    with engine("runtime: host, deploy.engine: embedded") as client:
        info = client.info()
    yield "ok", f"engine {info['ServerVersion']}"
    if (job.nim and job.nim["gpus"]) or job.config["devices"]:
        there = "nvidia" in info.get("Runtimes", {}) or shutil.which("nvidia-container-runtime-hook")
        mend = "its containers get no GPU: install nvidia-container-toolkit, nvidia-ctk runtime configure, restart it"
        yield ("ok", "gives containers GPUs") if there else ("FAIL", mend)


def isolation(job: Job) -> Iterator[Finding]:
    """Check that steps are confined to their declared files: by an engine, or in bubblewrap."""
    with contextlib.suppress(BadInput):  # an engine or an image that is not there, of which docker and images tell
        runtime = Runtime(job.config["runtime"], needed(job.config["devices"]))
        level = "warn" if runtime.isolation.startswith((UNHELD, LESS)) else "ok"
        unheld = runtime.isolation.startswith(UNHELD) and job.config["isolation"] == "required"
        yield ("FAIL" if unheld else level), f"runtime {runtime}{'; isolation: required' if unheld else ''}"


def lineage(_job: Job) -> Iterator[Finding]:
    """Check that the checkout has a commit, which attestations name."""
    if told := ignored_git_variables():
        yield "warn", told
    commit = own_commit()
    if commit.id:
        yield "ok", f"commit {commit.id[:12]}{', with tracked files altered' if commit.altered else ''}"
    else:
        yield "warn", f"it will have no commit: {commit.reason}: {commit.mend}"


def port(job: Job) -> Iterator[Finding]:
    """Check that the port is free."""
    wanted = job.config["deploy"]["port"]
    yield "ok", f"{free_port(wanted)} is free" if wanted else "any free one"
