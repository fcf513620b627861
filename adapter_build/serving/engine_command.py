"""Command line and environment of the embedded engine."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapter_build import ROOT
from adapter_build.core.faults import BadInput
from adapter_build.core.ports import HOST
from adapter_build.core.strict_json import given_object
from adapter_build.models.llama_shape import shape_of
from adapter_build.serving.api_key import KEY, api_key
from adapter_build.serving.request_bounds import MAX_TOKENS

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # values of vLLM's --max-lora-rank
MAX_MODEL_LEN = 2048  # tokens of prompt and answer unless deploy.embedded.context_length says otherwise
SEQUENCES = 8  # served at once; each has room for that many tokens
ADAPTERS_IN_MEMORY = 64  # of a server that takes any; the least recently used are loaded anew when asked
FLOAT32_BYTES = 4
LISTENER = "SERVE_LISTENER"  # the variable that holds the listening socket's number
# Of an engine that runs for a check only; make serve's come from deploy.embedded.
DEFAULT_BOUNDS: Mapping[str, Any] = {"names": [], "connections": 256, "connections_per_address": 256}
PASSED = ("PATH", "LANG", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # variables of the machine


def command(
    base: str,
    folder: Path,
    adapters: Mapping[str, Path],
    host: str,
    port: int,
    python: str | Path,
    max_rank: int | None,
    context: int = MAX_MODEL_LEN,
) -> list[str]:
    """Return the arguments that serve the model in `folder` under the name `base`, and `adapters` (name → folder).

    With `max_rank` there is room for adapters that come later. `context` bounds the tokens of prompt and answer. The
    KV cache's bytes follow from the base's config.json. Raises `BadInput` for a rank that vLLM does not serve.
    """
    config = given_object(folder / "config.json", "check base.name and base.path")
    length, shape = context_length(config, context), shape_of(config, folder / "config.json")
    # Keys and values of every layer. One sequence more than are served: vLLM keeps blocks for itself.
    cache = 2 * shape.layers * shape.head * shape.kv_heads * FLOAT32_BYTES * length * (SEQUENCES + 1)
    modules = [
        json.dumps({"name": name, "path": str(path.resolve()), "base_model_name": base})
        for name, path in adapters.items()
    ]
    return [
        str(python), "-u", "-m", "adapter_build.serving.vllm_server",
        "--model", str(folder),
        "--served-model-name", base,
        "--host", host,
        "--port", str(port),
        # From the innermost to the outermost.
        "--middleware", "adapter_build.serving.nim_paths.NimPaths",
        "--middleware", "adapter_build.serving.engine_adapters.EngineAdapters",
        "--middleware", "adapter_build.serving.engine_health.EngineHealth",
        "--middleware", "adapter_build.serving.request_bounds.RequestBounds",
        "--allowed-origins", "[]",  # no page in a browser may ask
        "--dtype", "float32",  # bfloat16 is emulated, and slow, on a CPU with AVX2 only
        "--load-format", "safetensors",
        "--max-model-len", str(length),
        "--max-num-seqs", str(SEQUENCES),
        "--kv-cache-memory-bytes", str(cache),
        "--enforce-eager",  # with the cache's size given, nothing is compiled and nothing warmed up
        "--no-enable-prefix-caching",  # an answer must not depend on what was asked before
        "--seed", "0",
        "--enable-lora",
        *(_room(max_rank) if max_rank else _fitted(adapters)),
        *(["--lora-modules", *modules] if modules else []),
    ]  # fmt: skip


def context_length(config: Mapping[str, Any], wanted: int = MAX_MODEL_LEN) -> int:
    """Return the tokens of prompt and answer that a base with this config.json is served with, at most `wanted`."""
    return min(wanted, config["max_position_embeddings"])


def environment(scratch: Path, threads: int) -> dict[str, str]:
    """Return the engine's whole environment: offline, silent about its use, writing to `scratch` only."""
    key = api_key()
    return {
        **({KEY: key} if key else {}),
        **{name: os.environ[name] for name in PASSED if name in os.environ},
        **dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "VLLM_CACHE_ROOT"), str(scratch)),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        "OMP_WAIT_POLICY": "PASSIVE",  # a thread that spins while it waits takes the processor from the one that works
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HOST_IP": HOST,
        "VLLM_RPC_BASE_PATH": ".",  # relative to its working directory: a socket's path has 107 bytes at most
        "VLLM_COMPUTE_NANS_IN_LOGITS": "1",  # counted for engine_health.py
        "TORCH_COMPILE_DISABLE": "1",  # the first request for log probabilities would wait for a compiler, 15 s
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the worker inside the engine's process: one process less
    }


def _fitted(adapters: Mapping[str, Path]) -> list[str]:
    """Return the options that make room for these adapters alone."""
    ranks = [given_object(path / "adapter_config.json", "stage it again")["r"] for path in adapters.values()]
    count = len(adapters)
    return _lora(_rank(max(ranks), "lower the adapter's rank"), min(count, SEQUENCES), count)


def _room(max_rank: int) -> list[str]:
    """Return the options that make room for any adapters up to a rank, a different one for each sequence of a batch."""
    bound = json.dumps({"max_new_tokens": MAX_TOKENS})  # of an answer whose request gives none
    room = _lora(_rank(max_rank, "lower deploy.max_rank"), SEQUENCES, ADAPTERS_IN_MEMORY)
    return [*room, "--override-generation-config", bound]


def _lora(rank: int, at_once: int, in_memory: int) -> list[str]:
    return ["--max-lora-rank", str(rank), "--max-loras", str(at_once), "--max-cpu-loras", str(in_memory)]


def _rank(rank: int, mend: str) -> int:
    if rank > RANKS[-1]:
        raise BadInput(f"rank {rank} is above {RANKS[-1]}, the largest that vLLM serves: {mend}")
    return next(room for room in RANKS if room >= rank)
