"""Which records are computed together: packs of alike size, as few as hold every global batch of a run."""

import heapq
from collections.abc import Sequence


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


def _loads(lengths: Sequence[int], count: int) -> list[int]:
    return [sum(lengths[record] for record in pack) for pack in packs(lengths, count)]
