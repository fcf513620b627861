"""Packing: the records that are computed together, in as few packs of alike size as hold every global batch of a run.

A micro-batch of records of unlike length computes its padding too, up to two thirds of it here; a pack is one row of
tokens in which records follow one another, and attention stays within each (packed_attention).

    a global batch                        at most 8 tokens a pack; the longest record is placed first,
    of five records                       each into the pack that has the fewest tokens so far

    a  a a a a a a  6                     1. a → pack 0 (6)     4. d → pack 0 (8)
    b  b b b b      4                     2. b → pack 1 (4)     5. e → pack 1 (8)
    c  c c c        3         →           3. c → pack 1 (7)
    d  d d          2                     pack 0   a a a a a a d d        two packs hold it; if one record were
    e  e            1                     pack 1   b b b b c c c e        longer by a token, three would

Every step of a run has the same number of packs (`pack_count`), so that gradient accumulation is the same at each and a
step takes about as long as any other: balance is worth more than the last free token. Packs keep the order of their
records, and ties go to the pack with the lower number, so that the same records give the same packs.

On a GPU a recorded graph has one size: packs are filled up to one of a few sizes (`graph_sizes`). PyTorch is not
imported: the estimate of memory counts with the same numbers where there is none.
"""

import heapq
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

GRAPH_STEP = 128  # tokens, of which a graph's size is a multiple: the rows of a tile of a matrix product
GRAPHS = 12  # at most: each takes a second of the start, and some MiB
LOGIT_ROWS = 1024  # tokens whose logits are in memory at once
LORA_COLUMNS = 64  # LoRA's columns beside a frozen weight are a multiple of this: the products' tiles stay whole


def rounded_layers(layers: int) -> range:
    """Return the layers whose frozen weights are rounded to FP8 where that is asked: all but the first and the last.

    The last one hardly bears rounding: alone it causes three quarters of the change that rounding all of them makes to
    SmolLM2's loss, and both are a sixteenth of Llama-3.1-8B's layers (bench/h100.md).
    """
    return range(1, layers - 1)


def pack_count(batches: Sequence[Sequence[int]], most: int, multiple: int = 1) -> int:
    """Return the number of packs of at most `most` tokens that holds every one of `batches`.

    `batches` are the lengths in tokens of each global batch's records, none above `most`. The number is the least
    multiple of `multiple` (nodes that tune together) with which `packs` stays within `most`.
    """
    count = multiple
    for lengths in batches:
        while max(_loads(lengths, count)) > most:
            count += multiple
    return count


def packs(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Return the records' indices in `count` packs of about as many tokens each; a pack keeps the records' order.

    `lengths` are in tokens. The longest record goes first, into the pack with the fewest tokens: the largest pack is at
    most 4/3 - 1/(3·count) of the best possible (R. L. Graham, Bounds on Multiprocessing Timing Anomalies, 1969).
    """
    heap = [(0, number) for number in range(count)]
    found: list[list[int]] = [[] for _ in range(count)]
    for record in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        load, number = heapq.heappop(heap)
        found[number].append(record)
        heapq.heappush(heap, (load + lengths[record], number))
    return [sorted(pack) for pack in found]


def graph_sizes(tokens: Sequence[int], step: int, most: int) -> list[int]:
    """Return the sizes in tokens to which packs of `tokens` tokens each are filled up, ascending.

    They are multiples of `step`, at most `most` of them, and add the fewest tokens to all packs together that so many
    sizes can. Packs between two chosen sizes are all filled up to the greater, so that the best choice for the first n
    sizes ends in the n-th and begins with a best choice for fewer: dynamic programming, O(most · sizes²).
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


def _loads(lengths: Sequence[int], count: int) -> list[int]:
    return [sum(lengths[record] for record in pack) for pack in packs(lengths, count)]
