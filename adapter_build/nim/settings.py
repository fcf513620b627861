"""Settings of the NIM container: config's deploy.nim, and the variables through which NIM 1.x and 2.x take them.

1.x   docs.nvidia.com/nim/large-language-models/1.8.0/configuration.html and …/1.2.0/peft.html. An adapter is a folder
      with Hugging Face files or one `.nemo`; LoRA's limits are variables of their own.
2.x   docs.nvidia.com/nim/large-language-models/2.0.6/advanced-use-cases/finetune-lora.html and …/2.0.1/genindex.html.
      Hugging Face files alone; LoRA's limits are vLLM's own options (NIM_PASSTHROUGH_ARGS).
Both  NGC_API_KEY, NIM_SERVED_MODEL_NAME, NIM_PEFT_SOURCE, NIM_PEFT_REFRESH_INTERVAL, NIM_CACHE_PATH, NIM_MODEL_PROFILE,
      NIM_SERVER_PORT (8000), 16 GB of shared memory, uid 1000.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.images import PUBLISHED, confirmed_image
from adapter_build.serving.engine_command import RANKS

PORT = 8000
STORE = "/home/nvs/loras"  # the tutorial's NIM_PEFT_SOURCE
CACHE = "/opt/nim/.cache"
KEY = "NGC_API_KEY"


@dataclass(frozen=True)
class NimSettings:
    """Settings of deploy.nim, and deploy.max_rank. `image` is repository@sha256:…, pinned by its `tag`."""

    image: str
    tag: str
    version: int
    gpus: int
    cache: str
    refresh_interval: int
    profile: str
    network: str
    max_rank: int
    read_only: bool = True

    @property
    def digest(self) -> str:
        """Digest of the image."""
        return self.image.partition("@")[2]

    def text(self) -> str:
        """Return the settings as one word of a command line."""
        return json.dumps(asdict(self), sort_keys=True)


def from_text(text: str) -> NimSettings:
    """Return the settings of `NimSettings.text`. Raises `BadInput` where the image has no digest."""
    settings = NimSettings(**json.loads(text))
    if not re.fullmatch(r".+@sha256:[0-9a-f]{64}", settings.image):
        raise BadInput(f"{settings.image}: not pinned by digest: make pin")
    return settings


def nim_settings(config: dict[str, Any], model: str, lock: Path = PUBLISHED) -> NimSettings:
    """Return the settings of a checked configuration whose adapters are made for `model`, the base's true name.

    Raises `BadInput` where the image is unknown or not pinned, serves another base, or is of another version.
    """
    deploy = config["deploy"]
    nim = deploy["nim"]
    try:
        image = confirmed_image(nim["image"], lock)
    except BadInput as fault:
        raise BadInput(f"config: deploy.nim.image: {fault}") from None
    if not same_base(image.repository, model):
        raise BadInput(
            f"config: deploy.nim.image: {image.repository} serves another base than {model} (base.name), which the "
            "adapters are made for: take an image that serves it (containers/images.yaml, make pin), or train on that"
        )
    if image.tag and image.tag[0].isdigit() and not image.tag.startswith(f"{nim['version']}."):
        raise BadInput(f"config: deploy.nim.version: {nim['version']}, but {nim['image']} is {image.tag}: set it so")
    if deploy["max_rank"] not in RANKS:
        raise BadInput(f"config: deploy.max_rank: NIM's engine takes one of {', '.join(map(str, RANKS))}")
    same = {
        key: nim[key] for key in ("version", "gpus", "cache", "refresh_interval", "profile", "network", "read_only")
    }
    return NimSettings(image=image.reference, tag=image.tag or "", max_rank=deploy["max_rank"], **same)


def same_base(repository: str, model: str) -> bool:
    """Tell if the NIM of `repository` serves `model`, by their names: nim/meta/llama-3.1-8b-base is Llama-3.1-8B."""
    return _plain(repository) == _plain(model)


def _plain(name: str) -> str:
    last = name.rsplit("/", 1)[-1].lower().removeprefix("meta-")
    return re.sub("[^a-z0-9]", "", last).removesuffix("base")


@dataclass(frozen=True)
class Version:
    """Major version of NIM: `layouts` of an adapter's folder, and `limits`, the variables for rank and count."""

    layouts: tuple[tuple[str, ...], ...]
    limits: Callable[[int, int], dict[str, str]]


HUGGING_FACE = ("adapter_config.json", "adapter_model.safetensors")
VERSIONS = {
    1: Version(
        layouts=(HUGGING_FACE, (".nemo",)),
        limits=lambda rank, adapters: {
            "NIM_MAX_LORA_RANK": str(rank),
            "NIM_MAX_GPU_LORAS": str(adapters),
            "NIM_MAX_CPU_LORAS": str(adapters),
        },
    ),
    2: Version(
        layouts=(HUGGING_FACE,),
        limits=lambda rank, adapters: {
            "NIM_PASSTHROUGH_ARGS": f"--max-lora-rank {rank} --max-loras {adapters} --max-cpu-loras {adapters}"
        },
    ),
}


def variables(settings: NimSettings, base: str, adapters: int, port: int, key: str) -> dict[str, str]:
    """Return the container's variables. `base` is the base's name on the server, `port` the one that NIM listens on."""
    return {
        KEY: key,
        "NIM_SERVED_MODEL_NAME": base,
        "NIM_PEFT_SOURCE": STORE,
        "NIM_PEFT_REFRESH_INTERVAL": str(settings.refresh_interval),
        "NIM_CACHE_PATH": CACHE,
        "NIM_SERVER_PORT": str(port),
        **({"NIM_MODEL_PROFILE": settings.profile} if settings.profile else {}),
        **VERSIONS[settings.version].limits(settings.max_rank, adapters),
    }
