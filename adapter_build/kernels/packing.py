"""Which records are computed together: packs of alike size, as few as hold every global batch of a run."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

# The settings of packs, where there are none.
UNPACKED = {
    "pack_length": 0, "kernels": "plain", "products": "full", "activations": "keep", "weights": "full",
    "attention": "repeatable",
}  # fmt: skip


def rounded_layers(layers: int) -> range:
    """Return the layers whose frozen weights are rounded to FP8 where that is asked: all but the first and the last.

    What goes through the last one hardly bears rounding: it alone is three quarters of what all of them do to the loss
    of SmolLM2, and both are a sixteenth of Llama-3.1-8B's layers (bench/h100.md).
    """
    return range(1, layers - 1)


def pack_count(batches: Sequence[Sequence[int]], most: int, multiple: int = 1) -> int:
    """Return how many packs of `most` tokens hold any one of `batches` (the lengths of a global batch's records).

    It is a multiple of `multiple`. No record may be longer than `most`.
    """
    count = multiple
    for lengths in batches:
        while max(_loads(lengths, count)) > most:
            count += multiple
    return count


def packs(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Return the records' numbers in `count` packs of about the same number of tokens; each keeps their order.

    The longest goes first, into the pack that has the fewest tokens (Graham, 1969: at most 4/3 of the best).
    """
    heap = [(0, number) for number in range(count)]
    found: list[list[int]] = [[] for _ in range(count)]
    for record in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        load, number = heapq.heappop(heap)
        found[number].append(record)
        heapq.heappush(heap, (load + lengths[record], number))
    return [sorted(pack) for pack in found]


def graph_sizes(tokens: Sequence[int], step: int, most: int) -> list[int]:
    """Return the sizes to which packs of `tokens` are filled up: multiples of `step`, `most` of them, no more.

    They add the fewest tokens to all packs together that so many sizes can: found by dynamic programming over the
    sizes in order, since the packs between two chosen ones are all filled up to the greater.
    """
    packs_of = Counter(-(-count // step) * step for count in tokens)
    sizes = sorted(packs_of)
    total = [0, *accumulate(packs_of[size] for size in sizes)]
    # Of the first `end` sizes: tokens when filled up, and where the last chosen one's packs begin.
    best = [(0, [])] + [(total[end] * sizes[end - 1], [sizes[end - 1]]) for end in range(1, len(sizes) + 1)]
    for _ in range(most - 1):
        best = [best[0]] + [
            min(
                (best[begin][0] + (total[end] - total[begin]) * sizes[end - 1], [*best[begin][1], sizes[end - 1]])
                for begin in range(end)
            )
            for end in range(1, len(sizes) + 1)
        ]
    return best[-1][1]


def unfit(adapter: Mapping[str, Any]) -> str | None:
    """Return which of an adapter's settings does not go with the others, why, and the mend; None if all do."""
    packed, kernels, dropout = adapter["pack_length"], adapter["kernels"], adapter["dropout"]
    if not packed:
        set_otherwise = [key for key, plain in UNPACKED.items() if adapter[key] != plain]
        return (
            f"{set_otherwise[0]}: {adapter[set_otherwise[0]]} is for packs: set pack_length" if set_otherwise else None
        )
    if adapter["micro_batch_size"] != 1:
        return f"micro_batch_size: {adapter['micro_batch_size']}, but packs keep the loss of one: set it to 1"
    if packed < adapter["sequence_length"]:
        return (
            f"pack_length: {packed} is less than sequence_length, one record's {adapter['sequence_length']}: raise it"
        )
    for key, value in (("products", "fp8"), ("weights", "fp8"), ("attention", "fastest")):
        if adapter[key] == value and kernels == "plain":
            return f"{key}: {value} is for fused layers: set kernels to fused or graphed"
    if adapter["products"] == adapter["weights"] == "fp8":
        return (
            "weights: fp8 gives products in full, and products: fp8 holds weights of its own: set one of them to full"
        )
    if kernels != "plain" and dropout:
        return f"dropout: {dropout:g}, which {kernels} layers do not have: set it to 0, or kernels to plain"
    return None


def _loads(lengths: Sequence[int], count: int) -> list[int]:
    return [sum(lengths[record] for record in pack) for pack in packs(lengths, count)]
