"""Write a tuned adapter as PEFT, vLLM and NIM read it: adapter_config.json, the weights, and a model card."""

import json
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import read_jsonl
from adapter_build.models.nemo_archive import read_config, read_member
from adapter_build.models.peft_files import adapter_config, arguments, base_of, front_matter
from adapter_build.tuning.pack_settings import UNPACKED

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


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    run(main)
