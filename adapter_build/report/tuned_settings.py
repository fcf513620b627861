"""The settings that an adapter was tuned with, as its own checkpoint says them: a configuration may have moved on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from adapter_build.core.faults import BadInput
from adapter_build.models.nemo_archive import CONFIG, read_member

OUTCOME = ("format", "step", "validation_loss", "base_sha256")  # in this project's own checkpoints, beside the settings
# In a checkpoint of NeMo 24.07, by their names here.
MEGATRON = {
    "rank": "peft.lora_tuning.adapter_dim",
    "alpha": "peft.lora_tuning.alpha",
    "dropout": "peft.lora_tuning.adapter_dropout",
    "target_modules": "peft.lora_tuning.target_modules",
    "learning_rate": "optim.lr",
    "micro_batch_size": "micro_batch_size",
    "global_batch_size": "global_batch_size",
    "sequence_length": "data.train_ds.max_seq_length",
    "seed": "seed",
}


def tuned_settings(checkpoint: Path) -> dict[str, Any]:
    """Return an adapter's settings by their names in config.yaml. Raises `BadInput` for any other file."""
    try:
        config = yaml.safe_load(read_member(checkpoint, CONFIG))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{checkpoint}: its {CONFIG} is not YAML ({error}): tune the adapter again") from None
    if isinstance(config, dict) and config.get("format") == "hf-lora":
        return {key: value for key, value in config.items() if key not in OUTCOME}
    found = {name: _at(config, path) for name, path in MEGATRON.items()}
    if found["rank"] is None:
        raise BadInput(f"{checkpoint}: its {CONFIG} describes no LoRA adapter: tune the adapter again")
    return {name: value for name, value in found.items() if value is not None}


def _at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config
