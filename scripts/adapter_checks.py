"""What a LoRA adapter must be before a server may have it: each rule refuses what vLLM or NIM would serve silently."""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faults import BadInput
from safetensors_file import greatest_weight, read_header

# Parts of PEFT that NIM does not serve, or that vLLM does not read: with any of them set it would serve something else.
UNSERVED = (
    "use_dora", "modules_to_save", "trainable_token_indices", "layer_replication", "rank_pattern", "alpha_pattern",
    "lora_bias", "fan_in_fan_out", "layers_to_transform", "exclude_modules", "target_parameters", "use_qalora",
    "alora_invocation_tokens",
)  # fmt: skip
GREATEST_WEIGHT = 100.0  # trained LoRA weights stay below 10; a flipped exponent bit is far above


def check_config(path: Path, base_model: str, modules: Mapping[str, Any], max_rank: int, name: str) -> dict[str, Any]:
    """Return what adapter_config.json says. Raises `BadInput` with the first thing that cannot be served as trained."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not readable as JSON ({error}): export the adapter again") from None
    if not isinstance(config, dict):
        raise BadInput(f"{path}: expected a JSON object, found {type(config).__name__}")
    if config.get("peft_type") != "LORA":
        raise BadInput(f"{path}: peft_type is {config.get('peft_type')!r}; only LORA can be served")
    if (trained_on := config.get("base_model_name_or_path")) != base_model:
        raise BadInput(
            f"{path}: base_model_name_or_path is {trained_on!r} but the base served is {base_model!r}: "
            "set base.name to the base the adapter was trained on, or train it on this one"
        )
    if config.get("bias", "none") != "none":
        raise BadInput(f"{path}: bias is {config['bias']!r}; only 'none' can be served: train without biases")
    if unserved := [key for key in UNSERVED if config.get(key)]:
        raise BadInput(f"{path}: {unserved[0]} is {config[unserved[0]]!r}, which no server serves: train without it")
    rank = config.get("r")
    if type(rank) is not int or rank < 1:
        raise BadInput(f"{path}: r is {rank!r}; it must be a whole number of at least 1: set adapters.{name}.rank")
    if rank > max_rank:
        raise BadInput(
            f"{path}: r is {rank}, above the server's {max_rank}: lower adapters.{name}.rank or raise deploy.max_rank"
        )
    alpha = config.get("lora_alpha")
    if type(alpha) not in (int, float) or not 0 < alpha <= sys.float_info.max:
        raise BadInput(f"{path}: lora_alpha is {alpha!r}; it must be above 0: set adapters.{name}.alpha")
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not targets or not all(isinstance(target, str) for target in targets):
        raise BadInput(f"{path}: target_modules must list modules by name: set adapters.{name}.target_modules")
    if unknown := sorted(set(targets) - set(modules)):
        raise BadInput(
            f"{path}: target_modules has {unknown[0]!r}; a server takes {', '.join(modules)}: "
            f"set adapters.{name}.target_modules"
        )
    return config


def check_weights(path: Path, config: Mapping[str, Any], modules: Mapping[str, Any], layers: int, name: str) -> None:
    """Read every tensor; raise `BadInput` with the first that is missing, foreign, misshapen or not a sound number.

    `modules` gives, per target module, its block in the layer, inputs and outputs; A is (r, inputs), B (outputs, r).
    """
    wanted = dict(_wanted(config, modules, layers))
    offset, header = read_header(path)
    if extra := sorted(set(header) - set(wanted)):
        reason = "names no LoRA weight of the base's layers in target_modules"
        raise BadInput(f"{path}: tensor {extra[0]} {reason}: check adapters.{name}.target_modules and base.name")
    if missing := sorted(set(wanted) - set(header)):
        raise BadInput(
            f"{path}: {len(missing)} of {len(wanted)} tensors are missing, the first {missing[0]}: "
            "export the adapter again"
        )
    alive = set()  # the matrices that are not all zero
    for tensor, entry in header.items():
        if tuple(entry["shape"]) != wanted[tensor]:
            raise BadInput(
                f"{path}: tensor {tensor} has shape {list(entry['shape'])}, expected {list(wanted[tensor])}: "
                f"check adapters.{name}.rank and base.name"
            )
        greatest = greatest_weight(path, entry, offset)
        if not math.isfinite(greatest):
            raise BadInput(f"{path}: tensor {tensor} holds NaN or Inf: lower adapters.{name}.learning_rate")
        if greatest > GREATEST_WEIGHT:
            raise BadInput(
                f"{path}: tensor {tensor} has a weight of size {greatest:.3g}, above {GREATEST_WEIGHT:g}: "
                f"lower adapters.{name}.learning_rate or export the adapter again"
            )
        if greatest > 0:
            alive.add(tensor)
    if not any(
        tensor in alive and tensor.replace(".lora_A.", ".lora_B.") in alive for tensor in wanted if "_A." in tensor
    ):
        raise BadInput(
            f"{path}: every product of lora_A and lora_B is zero, so the adapter is its base: "
            f"raise adapters.{name}.max_steps or adapters.{name}.learning_rate"
        )


def llama_modules(path: Path) -> tuple[dict[str, tuple[str, int, int]], int]:
    """Return module → (block, inputs, outputs) and the number of layers, from a Llama-shaped base's config.json."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
        head = config.get("head_dim") or hidden // heads
        queries, keys = head * heads, head * (config.get("num_key_value_heads") or heads)
        layers = config["num_hidden_layers"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not a Llama-shaped base's config.json ({error!r}): check base.name") from None
    modules = {
        "q_proj": ("self_attn", hidden, queries),
        "k_proj": ("self_attn", hidden, keys),
        "v_proj": ("self_attn", hidden, keys),
        "o_proj": ("self_attn", queries, hidden),
        "gate_proj": ("mlp", hidden, inner),
        "up_proj": ("mlp", hidden, inner),
        "down_proj": ("mlp", inner, hidden),
    }
    return modules, layers


def _wanted(
    config: Mapping[str, Any], modules: Mapping[str, Any], layers: int
) -> Iterator[tuple[str, tuple[int, int]]]:
    rank = config["r"]
    for layer in range(layers):
        for module in config["target_modules"]:
            block, inputs, outputs = modules[module]
            prefix = f"base_model.model.model.layers.{layer}.{block}.{module}"
            yield f"{prefix}.lora_A.weight", (rank, inputs)
            yield f"{prefix}.lora_B.weight", (outputs, rank)
