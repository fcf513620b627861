"""The embedded engine's command line and environment."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from faults import BadInput
from free_port import HOST

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those vLLM can be told to make room for
MAX_MODEL_LEN = 2048  # tokens of prompt and answer: the tutorial's prompts of 500 words, with room
SEQUENCES = 8  # served at once; each has room for MAX_MODEL_LEN tokens
FLOAT32_BYTES = 4
PASSED = ("PATH", "LANG", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # what belongs to the machine


def command(base: str, folder: Path, adapters: Mapping[str, Path], port: int, python: str | Path) -> list[str]:
    """Return the arguments that serve the model in `folder` under the name `base`, and `adapters` (name → folder).

    The sizes follow from the base's config.json. Raises `BadInput` for a rank that vLLM does not take.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    length = min(MAX_MODEL_LEN, config["max_position_embeddings"])
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    kv_width = head * (config.get("num_key_value_heads") or heads)
    # One sequence more than are served: vLLM keeps blocks for itself.
    cache = 2 * config["num_hidden_layers"] * kv_width * FLOAT32_BYTES * length * (SEQUENCES + 1)
    modules = [
        json.dumps({"name": name, "path": str(path.resolve()), "base_model_name": base})
        for name, path in adapters.items()
    ]
    return [
        str(python), "-u", str(Path(__file__).with_name("vllm_server.py").resolve()),
        "--model", str(folder),
        "--served-model-name", base,
        "--host", HOST,
        "--port", str(port),
        "--middleware", "nim_paths.NimPaths",
        "--dtype", "float32",  # bfloat16 is emulated, and slow, on a CPU with AVX2 only
        "--load-format", "safetensors",
        "--max-model-len", str(length),
        "--max-num-seqs", str(SEQUENCES),
        "--kv-cache-memory-bytes", str(cache),
        "--enforce-eager",  # with the cache's size given, nothing is compiled and nothing warmed up
        "--no-enable-prefix-caching",  # an answer must not depend on what was asked before
        "--seed", "0",
        "--enable-lora",
        "--max-lora-rank", str(_room(adapters)),
        "--max-loras", str(min(len(adapters), SEQUENCES)),
        "--max-cpu-loras", str(len(adapters)),
        "--lora-modules", *modules,
    ]  # fmt: skip


def environment(scratch: Path, threads: int) -> dict[str, str]:
    """Return the engine's whole environment: offline, silent about its use, writing to `scratch` only."""
    return {
        **{name: os.environ[name] for name in PASSED if name in os.environ},
        **dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "VLLM_CACHE_ROOT"), str(scratch)),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HOST_IP": HOST,
        "VLLM_RPC_BASE_PATH": ".",  # relative to its working directory: a socket's path has 107 bytes at most
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the worker inside the engine's process: one process less
    }


def _room(adapters: Mapping[str, Path]) -> int:
    ranks = [json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))["r"] for path in adapters.values()]
    if max(ranks) > RANKS[-1]:
        raise BadInput(
            f"rank {max(ranks)} is above {RANKS[-1]}, the largest that vLLM serves: lower the adapter's rank"
        )
    return next(room for room in RANKS if room >= max(ranks))
