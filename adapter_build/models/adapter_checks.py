"""Checks of a LoRA adapter before a server may have it: each refuses what vLLM or NIM would serve without a word."""

import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adapter_build.core.faults import BadInput
from adapter_build.core.printable import shown
from adapter_build.core.strict_json import given_object
from adapter_build.models.adapter_settings import odd_scale, unserved
from adapter_build.models.adapter_size import BaseNorms, LargestChange
from adapter_build.models.safetensors_file import read_header, read_tensor

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ENGINES = ("embedded", "nim-1", "nim-2")
LARGEST_CONFIG, LONGEST_HEADER = 2**20, 2**24  # bytes: of 1,000 layers, the latter has 3 million
GREATEST_WEIGHT = 100.0  # trained LoRA weights stay below 10; a flipped exponent bit is far above


def check_name(name: str, base: str) -> None:
    """Refuse a name of an adapter that the base has, or that cannot be a folder, part of a URL and a model's name."""
    if not SAFE_NAME.fullmatch(name):
        raise BadInput(f"adapters.{name}: a name holds letters, digits, '.', '_' and '-' only: rename it in config")
    if name == base:
        raise BadInput(f"adapters.{name}: has the base's own name, which a server refuses: rename it in config")


def check_config(
    path: Path,
    base_model: str,
    modules: Mapping[str, Any],
    max_rank: int,
    name: str,
    engine: str = "embedded",
) -> dict[str, Any]:
    """Return the content of adapter_config.json. Raises `BadInput` with the first fault that serving would hide.

    `engine`, one of ENGINES, will serve the adapter: NIM 1.x scales its products in another way than the others.
    `modules` are the base's, as `llama_modules` returns them; `name` is the adapter's key in config.
    """
    config = given_object(path, "export the adapter again", most=LARGEST_CONFIG)
    if config.get("peft_type") != "LORA":
        raise BadInput(
            f"{path}: peft_type is {shown(config.get('peft_type'))}; only LORA can be served: train with LoRA"
        )
    if (trained_on := config.get("base_model_name_or_path")) != base_model:
        raise BadInput(
            f"{path}: base_model_name_or_path is {shown(trained_on)} but the base served is {base_model!r}: "
            "set base.name to the base the adapter was trained on, or train it on this one"
        )
    if config.get("bias", "none") != "none":
        raise BadInput(f"{path}: bias is {shown(config['bias'])}; only 'none' can be served: train without biases")
    if fault := next(unserved(config), None):
        raise BadInput(f"{path}: {fault}")
    rank = config.get("r")
    if type(rank) is not int or rank < 1:
        raise BadInput(f"{path}: r is {shown(rank)}; it must be a whole number of at least 1: set adapters.{name}.rank")
    if rank > max_rank:
        raise BadInput(
            f"{path}: r is {rank}, above the server's {max_rank}: lower adapters.{name}.rank or raise deploy.max_rank"
        )
    alpha = config.get("lora_alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= sys.float_info.max:
        raise BadInput(f"{path}: lora_alpha is {shown(alpha)}; it must be above 0: set adapters.{name}.alpha")
    if fault := odd_scale(config):
        raise BadInput(f"{path}: lora_alpha is {fault}: set adapters.{name}.alpha")
    if config.get("use_rslora") and engine == "nim-1":
        raise BadInput(
            f"{path}: use_rslora is True, but NIM 1.x scales by alpha / r, not by alpha / sqrt(r): set "
            "deploy.nim.version to 2, with an image of that version, or deploy.engine to embedded; or set use_rslora "
            f"to false and lora_alpha to {alpha * math.sqrt(rank)!r}, which is the same"
        )
    _check_targets(path, config.get("target_modules"), modules, name)
    return config


def _check_targets(path: Path, targets: Any, modules: Mapping[str, Any], name: str) -> None:
    mend = f"set adapters.{name}.target_modules"
    if not isinstance(targets, list) or not targets or not all(isinstance(target, str) for target in targets):
        raise BadInput(f"{path}: target_modules must list modules by name, and is {shown(targets)}: {mend}")
    if unknown := sorted(set(targets) - set(modules)):
        raise BadInput(f"{path}: target_modules has {shown(unknown[0])}; a server takes {', '.join(modules)}: {mend}")
    if twice := [target for target in modules if targets.count(target) > 1]:
        raise BadInput(f"{path}: target_modules lists {shown(twice[0])} twice: {mend}")


def check_weights(
    path: Path,
    config: Mapping[str, Any],
    modules: Mapping[str, Any],
    layers: int,
    name: str,
    base: BaseNorms | None = None,
) -> None:
    """Read every tensor. Raises `BadInput` with the first that is missing, foreign, of another shape, or not finite.

    `modules` gives, per target module, its block in the layer, inputs and outputs; A is (r, inputs), B (outputs, r).
    `base` has the norms of the weights that the products are added to.
    """
    offset, header = check_header(path, config, modules, layers, name)
    changes = LargestChange(path, config, base or BaseNorms(), name)
    for tensor in header:
        if "_A." not in tensor:
            continue
        pair = [tensor, tensor.replace(".lora_A.", ".lora_B.")]
        changes.add(tensor, *(_sound_weights(path, other, header[other], offset, name) for other in pair))
    changes.check()


def _sound_weights(path: Path, tensor: str, entry: Mapping[str, Any], offset: int, name: str) -> np.ndarray:
    """Return a tensor's numbers. Raises `BadInput` for NaN, Inf and sizes that no training gives."""
    numbers = read_tensor(path, entry, offset)
    greatest = float(np.abs(numbers).max())  # NaN if any is NaN
    if not math.isfinite(greatest):
        raise BadInput(f"{path}: tensor {tensor} holds NaN or Inf: lower adapters.{name}.learning_rate")
    if greatest > GREATEST_WEIGHT:
        raise BadInput(
            f"{path}: tensor {tensor} has a weight of size {greatest:.3g}, above {GREATEST_WEIGHT:g}: "
            f"lower adapters.{name}.learning_rate or export the adapter again"
        )
    return numbers


def check_header(
    path: Path, config: Mapping[str, Any], modules: Mapping[str, Any], layers: int, name: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return an adapter's header as `read_header` does. Raises `BadInput` unless tensors and shapes are those wanted.

    No number is read for it, so that a file that is refused costs nothing.
    """
    wanted = dict(_wanted(config, modules, layers))
    offset, header = read_header(path, longest=LONGEST_HEADER)
    if extra := sorted(set(header) - set(wanted)):
        raise BadInput(f"{path}: tensor {extra[0]} {_foreign(extra[0], name)}")
    if missing := sorted(set(wanted) - set(header)):
        raise BadInput(
            f"{path}: {len(missing)} of {len(wanted)} tensors are missing, the first {missing[0]}: "
            "export the adapter again"
        )
    for tensor, entry in header.items():
        if tuple(entry["shape"]) != wanted[tensor]:
            raise BadInput(
                f"{path}: tensor {tensor} has shape {list(entry['shape'])}, expected {list(wanted[tensor])}: "
                f"check adapters.{name}.rank and base.name"
            )
    return offset, header


def _foreign(tensor: str, name: str) -> str:
    """Return the reason why a tensor does not belong into a served adapter, and the mend."""
    if any(part in tensor for part in ("embed_tokens", "lm_head", "modules_to_save")):
        return (
            "is of a saved embedding or head, which no server serves with an adapter: save it with "
            "save_embedding_layers=False, and train without modules_to_save"
        )
    if ".lora_" in tensor and not tensor.startswith("base_model.model.model."):
        return (
            "is named otherwise than PEFT's save_pretrained does (base_model.model.model.layers.…): save it with that"
        )
    return (
        "names no LoRA weight of the base's layers in target_modules: check "
        f"adapters.{name}.target_modules and base.name"
    )


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
