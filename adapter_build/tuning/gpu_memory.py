"""Estimate of the GPU memory that tuning takes, counted from what the code keeps; no GPU is asked.

Weights are in bfloat16, LoRA's own and Adam's in float32. The greatest part is what layers keep for their gradients
(layer_memory), of the largest pack, or of the largest micro-batch with its padding. test_gpu_memory.py holds
it to what an H100 measured.
"""

from collections.abc import Mapping
from typing import Any

from adapter_build.kernels.packing import LOGIT_ROWS, rounded_layers
from adapter_build.tuning.layer_memory import (
    BF16,
    FP8,
    FP32,
    PROJECTIONS,
    Shape,
    Work,
    backward_bytes,
    rank_of,
    recomputed_bytes,
    room_of,
    saved_bytes,
)

MIB = 2**20
WORKSPACES = 2 * 32 * MIB  # cuBLAS' of :4096:8, one for each of two streams
LOGIT = 3 * FP32  # bytes per logit, upper bound: log-softmax, its gradient, the logits' gradient


def resident(shape: Shape, adapter: Mapping[str, Any]) -> int:
    """Return the bytes held throughout: base and LoRA weights, in each form that a layer keeps."""
    linear = sum(inputs * outputs for inputs, outputs in shape.sizes.values())
    other = shape.vocabulary * shape.hidden * (1 if shape.tied else 2) + shape.hidden * (2 * shape.layers + 1)
    weights = sum(count * linear * _bytes(layer) for count, layer in _layers(shape, adapter))
    # A weight held in FP8 is in bfloat16 again while it is multiplied.
    expanded = BF16 * 2 * shape.hidden * shape.inner if adapter.get("weights") == "fp8" else 0
    copies = _copies(shape, adapter) + FP32 * trained(shape, adapter)
    return BF16 * other + weights + expanded + copies + WORKSPACES


def trained(shape: Shape, adapter: Mapping[str, Any]) -> int:
    """Return the number of trained weights: those of LoRA's A and B."""
    return shape.layers * adapter["rank"] * sum(sum(shape.sizes[name]) for name in adapter["target_modules"])


def loading(shape: Shape, adapter: Mapping[str, Any]) -> int:
    """Return the peak in bytes before training: the base in bfloat16, and one fused weight at a time copied anew."""
    plain = {**adapter, "products": "full", "weights": "full", "kernels": "plain"}
    largest = 2 * shape.hidden * shape.inner if adapter["kernels"] != "plain" else 0
    rounded = "fp8" in (adapter["products"], adapter.get("weights"))
    return resident(shape, plain) + largest * (2 * BF16 + 2 * FP8 if rounded else BF16)


def peak(shape: Shape, adapter: Mapping[str, Any], work: Work) -> int:
    """Return the estimate of torch.cuda.max_memory_allocated, in bytes."""
    lora = trained(shape, adapter)
    optimizer = 3 * FP32 * lora  # gradients and Adam's two moments
    held, graphed = resident(shape, adapter), adapter["kernels"] == "graphed"
    # A graph is recorded before the optimizer has taken anything, and what it computes in is then no longer counted.
    training = held + _computing(shape, adapter, work) + (0 if graphed else optimizer)
    return max(loading(shape, adapter), training, held + optimizer + FP32 * lora * work.graphs)


def needed(shape: Shape, adapter: Mapping[str, Any], work: Work) -> int:
    """Return the bytes of free memory that the process needs on the card.

    Graphs keep their memory from others, so validation's and the optimizer's come on top. For the allocator's blocks
    and the libraries' code (cuBLAS, Triton) there is a margin of 3 % and 512 MiB, chosen and not measured.
    """
    most = peak(shape, adapter, work)
    if adapter["kernels"] == "graphed":
        lora = FP32 * trained(shape, adapter)
        validation = (
            work.tokens * saved_bytes(shape, adapter, work) + min(work.answers, LOGIT_ROWS) * shape.vocabulary * LOGIT
        )
        graphs = resident(shape, adapter) + _computing(shape, adapter, work) + lora * work.graphs
        most = max(most, graphs + 4 * lora + validation)
    return most + most * 3 // 100 + 512 * MIB


def _layers(shape: Shape, adapter: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the number of layers that are rounded, and of those that are not, with the settings of each kind."""
    rounded = len(rounded_layers(shape.layers))
    return [(rounded, adapter), (shape.layers - rounded, {**adapter, "products": "full", "weights": "full"})]


def _bytes(adapter: Mapping[str, Any]) -> int:
    """Return the bytes per frozen weight; products in FP8 need a copy by rows and one by columns."""
    return FP8 if adapter.get("weights") == "fp8" else 2 * FP8 if adapter["products"] == "fp8" else BF16


def _copies(shape: Shape, adapter: Mapping[str, Any]) -> int:
    """Return the bytes of A and B in bfloat16: projection.Projection's buffers, or autocast's copies."""
    if adapter["kernels"] == "plain":
        return BF16 * trained(shape, adapter)
    total = 0
    for names, _ in PROJECTIONS:
        inputs, outputs = shape.sizes[names[0]][0], sum(shape.sizes[name][1] for name in names)
        rank = rank_of(adapter, names)
        for count, layer in _layers(shape, adapter):
            total += count * (inputs * rank + outputs * (room_of(layer, names) or rank))
    return BF16 * total


def _computing(shape: Shape, adapter: Mapping[str, Any], work: Work) -> int:
    """Return the bytes that the largest pack takes: what all layers save, and the largest that is live beside it."""
    kinds = [(count, saved_bytes(shape, layer, work)) for count, layer in _layers(shape, adapter)]
    recomputed = adapter["activations"] == "recompute"
    layers = shape.layers * recomputed_bytes(shape) if recomputed else sum(count * each for count, each in kinds)
    again = max(each for _, each in kinds) if recomputed else 0
    rows = min(work.answers, LOGIT_ROWS) if adapter["pack_length"] else work.answers
    return work.tokens * (layers + again) + max(
        rows * shape.vocabulary * LOGIT, work.tokens * backward_bytes(shape, adapter, work)
    )
