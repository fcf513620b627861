"""Write a Megatron adapter as PEFT reads it: for its evaluation, its checks, and servers that take no .nemo."""

import io
import json
import pickle
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import read_jsonl
from adapter_build.core.processes import gc_paused
from adapter_build.megatron.nemo_files import WEIGHTS, check_adapter
from adapter_build.megatron.programs import FUSED, fused
from adapter_build.models.nemo_archive import read_member
from adapter_build.models.peft_files import adapter_config, arguments, base_of, front_matter


def main() -> None:
    """Read the options, then the checkpoint, and write the three files."""
    parser = arguments(__doc__)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--alpha", type=float, required=True)
    parser.add_argument("--target-modules", nargs="+", required=True, help="linear layers that have an adapter")
    options = parser.parse_args()
    layers = fused(options.target_modules)
    network = check_adapter(options.checkpoint, options.rank, options.alpha, layers)
    lora = network["peft"]["lora_tuning"]
    settings = {
        "rank": lora["adapter_dim"],
        "alpha": lora["alpha"],
        "dropout": lora.get("adapter_dropout", 0.0),
        "target_modules": sorted(module for layer in lora["target_modules"] for module in FUSED[layer]),
    }
    base = base_of(options)
    best = min(
        (row["validation_loss"] for row in read_jsonl(options.metrics) if "validation_loss" in row), default=None
    )
    if best is None:
        raise BadInput(f"{options.metrics}: no validation loss in it: tune the adapter again")
    with gc_paused():
        import torch
        from safetensors.torch import save_file

        from adapter_build.megatron.lora import peft_matrices

    try:
        # weights_only: code in the pickle is refused, not run.
        member = io.BytesIO(read_member(options.checkpoint, WEIGHTS))
        weights = torch.load(member, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "nothing in it"
        raise BadInput(f"{options.checkpoint}: {WEIGHTS} is no file of tensors ({reason}): tune it again") from None
    save_file(peft_matrices(weights, network), str(options.weights), metadata={"format": "pt"})
    text = json.dumps(adapter_config(settings, base), indent=2, sort_keys=True) + "\n"
    options.config.write_text(text, encoding="utf-8")
    options.card.write_text(card(options.adapter, settings, base, best), encoding="utf-8")


def card(adapter: str, settings: dict[str, Any], base: dict[str, Any], validation_loss: float) -> str:
    """Return the model card."""
    return f"""---
{front_matter(base)}---

# {adapter}

A LoRA adapter for [{base["model"]}](https://huggingface.co/{base["model"]}), trained by NeMo 24.07's
megatron_gpt_finetuning.py on prompts and their answers; the loss was that of the answers alone. It was kept where the
validation loss was lowest: {validation_loss:.4f}.

Rank {settings["rank"]}, alpha {settings["alpha"]}, on {", ".join(settings["target_modules"])}. These are its Megatron
.nemo's numbers: where Megatron has one layer for several modules, they share the matrix A.
"""


if __name__ == "__main__":
    run(main)
