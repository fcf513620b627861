"""Layers that tolerate rounding to FP8: a base's loss by the layers that are rounded, on a CPU, nothing tuned.

    .venvs/tune/bin/python bench/rounded_layers.py NEMO PROMPTS [RECORDS]

NEMO is a base's .nemo file, PROMPTS are real ones, of which the last RECORDS (default: 40) are read. On a CPU the same
values are rounded as on a GPU, and multiplied in float32.
"""

import sys
from collections.abc import Callable, Collection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from adapter_build.kernels.packing import rounded_layers

LENGTH, PACK = 768, 4096  # tokens of a record and of a pack, at the most
ROUNDED: dict[str, Callable[[int], Collection[int]]] = {
    "all": range,
    "all but the first": lambda layers: range(1, layers),
    "all but the last": lambda layers: range(layers - 1),
    "all but the first and the last": rounded_layers,
    "all but two at each end": lambda layers: range(2, layers - 2),
}


def main() -> None:
    """Print a row for each choice of layers."""
    nemo, prompts, *records = sys.argv[1:]
    loss = Loss(Path(nemo), Path(prompts), int(*records or ["40"]))
    full = loss.of(range)
    print(f"in full: {full:.4f}\n\n| rounded layers | products in FP8 | | weights held in FP8 | |")
    print("|---|---:|---:|---:|---:|", flush=True)
    for name, rounded in ROUNDED.items():
        found = [loss.of(rounded, **kind) for kind in ({"products": "fp8"}, {"weights": "fp8"})]
        cells = " | ".join(f"{each:.4f} | {100 * (each / full - 1):+.2f} %" for each in found)
        print(f"| {name} | {cells} |", flush=True)


class Loss:
    """The mean loss of the answers' tokens of some records."""

    def __init__(self, nemo: Path, prompts: Path, records: int) -> None:
        from adapter_build.models.answer_tokens import encode
        from adapter_build.models.hf_causal_lm import HFCausalLM
        from adapter_build.records.prompts import read_prompts
        from adapter_build.tuning.prompt_batches import Packs

        self._nemo = nemo
        tokenizer = HFCausalLM.restore(nemo).tokenizer
        examples = [encode(tokenizer, row, LENGTH, prompts) for row in read_prompts(prompts)[-records:]]
        self._packs = Packs(examples, examples, PACK, len(examples))

    def of(self, rounded: Callable[[int], Collection[int]], **settings: str) -> float:
        """Return it for a base of which these layers are rounded, by PackedModel's settings: without any, none is."""
        import torch

        from adapter_build.kernels import packed_loss
        from adapter_build.kernels.packed_attention import NAME
        from adapter_build.models.hf_causal_lm import HFCausalLM

        model = HFCausalLM.restore(self._nemo).model.requires_grad_(False)
        model.config._attn_implementation = NAME
        packed_loss.rounded_layers = rounded
        packed = packed_loss.PackedModel(model, fused=True, recompute=False, **settings)
        with torch.no_grad():
            batches = list(self._packs.val_dataloader())
            return sum(packed.loss(batch).item() for batch in batches) / sum(len(batch["labels"]) for batch in batches)


if __name__ == "__main__":
    main()
