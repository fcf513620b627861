"""The order in which an adapter learns from its records: known from the seed alone."""

import random


def record_order(records: int, wanted: int, seed: int) -> list[int]:
    """Return `wanted` indices: all records in a seeded order, then all in another, and so on."""
    order: list[int] = []
    generator = random.Random(seed)
    while len(order) < wanted:
        order += generator.sample(range(records), records)
    return order[:wanted]
