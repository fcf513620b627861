"""Write a tuned adapter as PEFT, vLLM and NIM read it: adapter_config.json, the weights, and a model card."""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from faults import BadInput, run
from jsonl import read_jsonl
from nemo_archive import read_config, read_member
from packing import UNPACKED

WEIGHTS = "adapter_model.safetensors"
SETTINGS = (
    "rank", "alpha", "dropout", "target_modules", "learning_rate", "max_steps", "micro_batch_size",
    "global_batch_size", "sequence_length", "validation_interval", "patience", "seed",
)  # fmt: skip


def main() -> None:
    """Read the options, then the checkpoint, and write the three files."""
    options = arguments(__doc__).parse_args()
    settings = read_config(options.checkpoint, "hf-lora")
    base = base_of(options)
    losses = [
        row["validation_loss"]
        for row in read_jsonl(options.metrics)
        if row.get("step") == settings["step"] and "validation_loss" in row
    ]
    if losses != [settings["validation_loss"]]:
        raise BadInput(
            f"{options.metrics}: its validation loss is not that of {options.checkpoint}: tune the adapter again"
        )
    options.weights.write_bytes(read_member(options.checkpoint, WEIGHTS))
    config = json.dumps(adapter_config(settings, base), indent=2, sort_keys=True) + "\n"
    options.config.write_text(config, encoding="utf-8")
    options.card.write_text(card(options.adapter, settings, base), encoding="utf-8")


def arguments(description: str) -> argparse.ArgumentParser:
    """Return the parser of what every adapter's export takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the adapter's .nemo file")
    parser.add_argument("--metrics", type=Path, required=True, help="losses by step")
    parser.add_argument("--model", required=True, help="the base's true name")
    parser.add_argument("--licence", default="", help="the base's licence")
    parser.add_argument("--revision", default="", help="the commit of the base's repository, if it came from one")
    parser.add_argument("--adapter", required=True, help="the adapter's name")
    parser.add_argument("--config", type=Path, required=True, help="adapter_config.json to write")
    parser.add_argument("--weights", type=Path, required=True, help="adapter_model.safetensors to write")
    parser.add_argument("--card", type=Path, required=True, help="README.md to write")
    return parser


def base_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the adapter's files say of its base."""
    return {"model": options.model, "licence": options.licence or "other", "revision": options.revision or None}


def adapter_config(settings: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Return PEFT's description of the adapter: what PEFT, vLLM and NIM need, and no version of a library."""
    return {
        "base_model_name_or_path": base["model"],
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": settings["alpha"],
        "lora_dropout": settings["dropout"],
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": settings["rank"],
        "revision": base["revision"],
        "target_modules": settings["target_modules"],
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def card(adapter: str, settings: dict[str, Any], base: dict[str, Any]) -> str:
    """Return the model card."""
    names = (*SETTINGS, *UNPACKED) if settings.get("pack_length") else SETTINGS
    rows = "\n".join(f"| {name.replace('_', ' ')} | {_shown(settings[name])} |" for name in names)
    return f"""---
{front_matter(base)}---

# {adapter}

A LoRA adapter for [{base["model"]}](https://huggingface.co/{base["model"]}), trained with nemo_toolkit on prompts and
their answers; the loss was that of the answers alone. It was kept at step {settings["step"]} of
{settings["max_steps"]} at most, where the validation loss was lowest: {settings["validation_loss"]:.4f}.

| setting | value |
|---|---|
{rows}

The base it was trained on, as a .nemo file, has sha256 `{settings["base_sha256"]}`.
A prompt ends without a space (`TITLE:`); the answer begins with one and ends at the tokenizer's end token.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{base["model"]}")
model = PeftModel.from_pretrained(base, "path/to/{adapter}")
```
"""


def front_matter(base: dict[str, Any]) -> str:
    """Return the YAML at the head of a model card."""
    return yaml.safe_dump(
        {
            "base_model": base["model"],
            "library_name": "peft",
            "license": base["licence"].lower(),
            "pipeline_tag": "text-generation",
            "tags": ["lora", "nemo"],
        },
        sort_keys=True,
    )


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    run(main)
