"""Two corrections of vLLM's LoRA kernels on CPU.

The rows of a batch that are the base's alone stay as the base made them. vLLM marks such a row with adapter -1, which
its CPU kernels take for the adapter in the last place: a request to the base that is served beside one to an adapter is
answered with an adapter's weights. Pull requests 48421 and 49656 of vllm-project/vllm correct the kernels; neither is
in a release.

Nothing is added to logits. No adapter that is served has a part there (adapter_settings.py), yet vLLM multiplies zeros,
a vocabulary of them per row, and takes the rows for those that are sampled: a request for the logits of its prompt has
others, and ended the engine.
"""

from typing import Any


def correct_kernels() -> None:
    """Correct vLLM in this process, in which its engine is made later."""
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    add = PunicaWrapperCPU.add_lora_linear

    def add_lora_linear(self: Any, y: Any, *arguments: Any, **options: Any) -> None:
        """Add the adapters' parts to `y`, of shape (tokens, width) once its first axes are one."""
        rows = y.view(-1, y.shape[-1])
        base = self.token_lora_indices < 0
        kept = rows[base]
        add(self, y, *arguments, **options)
        rows[base] = kept  # not by adding nothing: a part of NaN times nothing is NaN

    def add_lora_logits(self: Any, y: Any, *arguments: Any, **options: Any) -> None:
        """Leave logits as the base's head made them."""

    PunicaWrapperCPU.add_lora_linear = add_lora_linear
    PunicaWrapperCPU.add_lora_logits = add_lora_logits
