"""What tuning takes of a GPU's memory, counted from what the code keeps; no GPU is asked.

Weights are in bfloat16, LoRA's own and Adam's in float32. The greatest part is what layers keep for their gradients
(layer_memory), of the largest pack, or of the largest micro-batch with its padding. test_gpu_memory.py holds
it to what an H100 measured.
"""

from collections.abc import Mapping
from typing import Any

from adapter_build.kernels.packing import rounded_layers
from adapter_build.tuning.layer_memory import (
    BF16,
    FP8,
    FP32,
    PROJECTIONS,
    Shape,
    Work,
    beside,
    kept,
    rank_of,
    room_of,
    saved,
)

MIB = 2**20
STEP, GRAPHS = 128, 12  # graphed_loss's: tokens that graphs' sizes are multiples of, and how many there are at the most
ROWS = 1024  # packed_loss.ROWS: tokens whose logits are in memory at once
WORKSPACES = 2 * 32 * MIB  # cuBLAS' of :4096:8, one for each of two streams
LOGIT = 3 * FP32  # bytes a logit at the most: log-softmax, its gradient, that of the logits


def resident(shape: Shape, adapter: Mapping[str, Any]) -> int:
    """Return the bytes that are there all the time: base and LoRA's weights, in each form that a layer keeps."""
    linear = sum(inputs * outputs for inputs, outputs in shape.sizes.values())
    other = shape.vocabulary * shape.hidden * (1 if shape.tied else 2) + shape.hidden * (2 * shape.layers + 1)
    weights = sum(count * linear * _bytes(layer) for count, layer in _layers(shape, adapter))
    # A weight that is held in FP8 is in full again while it is multiplied with.
    again = BF16 * 2 * shape.hidden * shape.inner if adapter.get("weights") == "fp8" else 0
    copies = _copies(shape, adapter) + FP32 * trained(shape, adapter)
    return BF16 * other + weights + again + copies + WORKSPACES


def trained(shape: Shape, adapter: Mapping[str, Any]) -> int:
    """Return how many weights LoRA has."""
    return shape.layers * adapter["rank"] * sum(sum(shape.sizes[name]) for name in adapter["target_modules"])


def loading(shape: Shape, adapter: Mapping[str, Any]) -> int:
    """Return the peak in bytes before training: all of the base in bfloat16 and, one at a time, a fused weight anew."""
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
    """Return the bytes that the process must be able to take from the card.

    Graphs keep their memory from others, so validation's and the optimizer's come on top. For the allocator's blocks
    and the libraries' code (cuBLAS, Triton) there is a margin of 3 % and 512 MiB, chosen and not measured.
    """
    most = peak(shape, adapter, work)
    if adapter["kernels"] == "graphed":
        lora = FP32 * trained(shape, adapter)
        validation = work.tokens * saved(shape, adapter, work) + min(work.answers, ROWS) * shape.vocabulary * LOGIT
        graphs = resident(shape, adapter) + _computing(shape, adapter, work) + lora * work.graphs
        most = max(most, graphs + 4 * lora + validation)
    return most + most * 3 // 100 + 512 * MIB


def _layers(shape: Shape, adapter: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """Return how many layers are rounded, and how many are not, with the settings of each kind."""
    rounded = len(rounded_layers(shape.layers))
    return [(rounded, adapter), (shape.layers - rounded, {**adapter, "products": "full", "weights": "full"})]


def _bytes(adapter: Mapping[str, Any]) -> int:
    """Return the bytes that hold a frozen weight; products in FP8 have a copy by rows and one by columns."""
    return FP8 if adapter.get("weights") == "fp8" else 2 * FP8 if adapter["products"] == "fp8" else BF16


def _copies(shape: Shape, adapter: Mapping[str, Any]) -> int:
    """Return what holds A and B in bfloat16: projection.Projection's buffers, or autocast's copies."""
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
    """Return what forward and backward of the largest pack take: what layers keep, and the greatest moment beside."""
    kinds = [(count, saved(shape, layer, work)) for count, layer in _layers(shape, adapter)]
    recomputed = adapter["activations"] == "recompute"
    layers = shape.layers * kept(shape) if recomputed else sum(count * each for count, each in kinds)
    again = max(each for _, each in kinds) if recomputed else 0
    rows = min(work.answers, ROWS) if adapter["pack_length"] else work.answers
    return work.tokens * (layers + again) + max(
        rows * shape.vocabulary * LOGIT, work.tokens * beside(shape, adapter, work)
    )
