"""What NIM 1.x and 2.x are told, by which variables, and where they look for adapters.

1.x   docs.nvidia.com/nim/large-language-models/1.8.0/configuration.html and …/1.2.0/peft.html. An adapter is a folder
      with Hugging Face files or one `.nemo`; LoRA's limits are variables of their own.
2.x   docs.nvidia.com/nim/large-language-models/2.0.6/advanced-use-cases/finetune-lora.html and …/2.0.1/genindex.html.
      Hugging Face files alone; LoRA's limits are vLLM's own options (NIM_PASSTHROUGH_ARGS).
Both  NGC_API_KEY, NIM_SERVED_MODEL_NAME, NIM_PEFT_SOURCE, NIM_PEFT_REFRESH_INTERVAL, NIM_CACHE_PATH, NIM_MODEL_PROFILE,
      NIM_SERVER_PORT (8000), 16 GB of shared memory, uid 1000.
"""

from collections.abc import Callable
from dataclasses import dataclass

from adapter_build.nim.settings import NimSettings

PORT = 8000
STORE = "/home/nvs/loras"  # the tutorial's NIM_PEFT_SOURCE
CACHE = "/opt/nim/.cache"
KEY = "NGC_API_KEY"


@dataclass(frozen=True)
class Version:
    """`layouts`: an adapter's folder holds one of these. `limits`: the variables for a greatest rank and a count."""

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
    """Return the container's variables. `base` is the name the base is served under, `port` where NIM listens."""
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
