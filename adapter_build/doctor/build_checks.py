"""Checks of a build by `make doctor`: data, keys, images, adapters. Each FAIL comes with its mend."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.environments import needed
from adapter_build.hermetic.images import PUBLISHED, confirmed_image, image_of, read_images
from adapter_build.images.registry import inspect
from adapter_build.models.adapter_checks import check_config
from adapter_build.models.base_model import BaseModel
from adapter_build.models.base_sources import check_pinned
from adapter_build.nim.settings import nim_settings
from adapter_build.records.data_lock import LOCK, dataset_of
from adapter_build.workflow.config_checks import MEGATRON
from adapter_build.workflow.configuration import engine_of

OPEN_LICENCES = ("apache-2.0", "mit")  # a model under any other licence is gated
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
Finding = tuple[str, str]  # ok | warn | FAIL, and the text


@dataclass(frozen=True)
class Job:
    """Build and deployment under check: a checked configuration, data.lock.yaml's content, and the base."""

    config: dict[str, Any]
    base: BaseModel
    lock: dict[str, Any]
    results: Path = Path("results")

    @property
    def nim(self) -> dict[str, Any] | None:
        """Configuration of deploy.nim; None where NIM is not the engine."""
        return self.config["deploy"]["nim"] if self.config["deploy"]["engine"] == "nim" else None

    @property
    def base_bytes(self) -> int | None:
        """Bytes of the base's files; None where the lock does not have them."""
        if self.base.source_files:
            return sum(Path(path).stat().st_size for path in self.base.source_files)
        sizes = [(file or {}).get("bytes") for file in self.base.entry["files"].values()]
        return None if None in sizes else sum(filter(None, sizes))


def data(job: Job) -> Iterator[Finding]:
    """Check that the base and the data to fetch are pinned to the byte."""
    name = job.config["base"]["name"]
    if not job.base.source_files:
        check_pinned(LOCK, name, job.base.entry)
    if job.config["data"]["source"] == "huggingface":
        wanted = job.config["data"]["dataset"]
        if not dataset_of(wanted, job.lock["datasets"][wanted]).sha256:
            raise BadInput(f"dataset {wanted} has no sha256 in {LOCK}: make pin")
    yield "ok", f"{job.base.model} and the data are pinned, or your own files"


def keys(job: Job) -> Iterator[Finding]:
    """Check that the variables that this configuration needs are set."""
    needed = [("NGC_API_KEY", "FAIL", "NIM does not start without it")] if job.nim else []
    if job.base.entry["source"] == "huggingface" and not all(Path(path).exists() for path in job.base.files):
        gated = str(job.base.entry.get("licence")).lower() not in OPEN_LICENCES
        needed.append(("HF_TOKEN", "FAIL" if gated else "warn", f"{job.base.model} is fetched with it"))
    elif job.config["data"]["source"] == "huggingface":
        needed.append(("HF_TOKEN", "warn", "anonymous requests to the hub are rate-limited"))
    for name, level, why in needed:
        yield (
            ("ok", f"{name} is set") if os.environ.get(name) else (level, f"{name} is not set, {why}: export {name}=…")
        )
    if not needed:
        yield "ok", "none is needed"


def images(job: Job) -> Iterator[Finding]:
    """Check that images are pinned and in their registries, and that NIM's serves the adapters' own base."""
    steps = needed(job.config["devices"]) if job.config["runtime"] in ("docker", "apptainer") else ()
    wanted = [image_of(name) for name in steps]
    if job.config["tune"]["backend"] == MEGATRON:
        wanted.append(image_of(MEGATRON))
    if job.nim:
        settings = nim_settings(job.config, job.base.model)
        yield "ok", f"{settings.image} is pinned and serves the adapters' own base, {job.base.model}"
        wanted.append(confirmed_image(job.nim["image"]))
    for image in wanted:
        if image.repository.startswith("localhost/"):
            yield "ok", f"{image.name} was built here"
        elif not shutil.which("skopeo"):
            yield "warn", f"{image.reference}: not asked for: skopeo is not installed"
        else:
            inspect(["--raw"], image.reference)
            yield "ok", f"{image.reference} is in its registry"
    if not wanted:
        yield "ok", f"none is needed ({len(read_images(PUBLISHED))} listed)"


def adapters(job: Job) -> Iterator[Finding]:
    """Check that staged adapters were trained on the base that is served, within the server's limits."""
    limit = job.config["deploy"]["max_rank"]
    for name, adapter in job.config["adapters"].items():
        yield "ok", f"{name}: rank {adapter['rank']} of {limit} at the most, {', '.join(adapter['target_modules'])}"
    for path in sorted(job.results.glob("loras/*/adapter_config.json")):
        name, engine = path.parent.name, engine_of(job.config)
        made = check_config(path, job.base.model, dict.fromkeys(MODULES), limit, name, engine)
        yield "ok", f"{path.parent.name}, staged: made for {job.base.model}, rank {made['r']}"
