"""Known failures of NIM: messages of its registry, of the container engine and of its own log, each with its mend."""

import re
from collections.abc import Sequence

SHOWN = 240  # characters of a log's line
SETUP = "https://org.ngc.nvidia.com/setup"

# A registry's answers and their meaning at NGC. Engines word them differently, so words stand for a status too.
PULLS = (
    (r"\b402\b|payment required", "402: this key's organisation has not bought, or joined the programme for, this NIM"),
    (r"\b451\b|legal reasons", "451: not offered to this account's country or before its licence is accepted: open the "
     "image's page on catalog.ngc.nvidia.com and accept"),
    (r"\b403\b|forbidden|\bdenied\b", "403: the key is known but may not have this image: make a personal key with the "
     f"NGC catalog service at {SETUP}"),
    (r"\b401\b|unauthorized|authentication required|no basic auth", "401: the registry does not know the key: export "
     f"NGC_API_KEY anew from {SETUP}; for another registry docker login"),
    (r"manifest unknown|not found", "the registry no longer has this digest: make pin"),
)  # fmt: skip

# An engine's reasons to refuse a container's start.
STARTS = (
    (r"could not select device driver|unknown or invalid runtime name: nvidia|nvidia-container-cli", "no GPU for "
     "containers here: install the driver and nvidia-container-toolkit, or set deploy.engine: embedded"),
    (r"already allocated|address already in use", "the port is taken: set deploy.port to a free one, or 0"),
)  # fmt: skip

# Lines of NIM's own log, a cause before the lines that follow from it.
LOGS = (
    (r"permission denied.*/opt/nim/\.cache|/opt/nim/\.cache.*(permission denied|read-only)", "the cache is not "
     "writable for uid 1000: sudo chown -R 1000 on deploy.nim.cache"),
    (r"read-only file system", "the image writes outside of its cache and /tmp: set deploy.nim.read_only to false"),
    (r"no space left on device", "the disk of deploy.nim.cache is full: free some space"),
    (r"out of ?memory|no available memory for the cache|low memory", "too little GPU memory: end what else uses the "
     "GPU (nvidia-smi), choose a smaller deploy.nim.profile, or give more deploy.nim.gpus"),
    (r"not support lora|feat_lora: false|detected 0 compatible|could not match a profile|not all of the provided "
     r"profiles", "no profile with LoRA: set deploy.nim.profile to one that the image's list-model-profiles shows "
     "with LoRA for this GPU, or to \"\""),
    (r"nvidia driver was not detected|no cuda-capable device|driver not loaded|nvml.*not found", "NIM sees no GPU: "
     "set deploy.nim.gpus, and see that nvidia-smi answers in a container"),
    (r"address already in use", "the port is taken: set deploy.port to a free one, or 0"),
    (r"\b40[13]\b.*ngc|ngc.*\b40[13]\b|invalid api key|authentication (error|failed)", "NGC refused the key: export "
     f"NGC_API_KEY anew from {SETUP}"),
    (r"greater than max_lora_rank|expected target modules|no adapter found|(failed to|error|cannot) load\w* "
     r"(the )?(lora|adapter)|unsupported lora", "NIM refused an adapter: stage it again, with deploy.max_rank and "
     "target_modules within what this profile takes"),
)  # fmt: skip


def refused_pull(reason: str) -> str:
    """Return the mend of a pull that failed for `reason`."""
    return _first(PULLS, reason) or "is the registry up, and may this machine reach it?"


def refused_start(reason: str) -> str:
    """Return the mend of a container that the engine refused for `reason`."""
    return _first(STARTS, reason) or "see docker info"


def told_by(lines: Sequence[str]) -> str | None:
    """Return the first known cause in a log, with its line and its mend; None if there is none."""
    for pattern, mend in LOGS:
        if line := next((line for line in lines if re.search(pattern, line, re.IGNORECASE)), None):
            return f"{line.strip()[:SHOWN]}: {mend}"
    return None


def _first(table: tuple[tuple[str, str], ...], reason: str) -> str | None:
    return next((mend for pattern, mend in table if re.search(pattern, reason, re.IGNORECASE)), None)
