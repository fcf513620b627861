"""Prompts as files hold them, one per record, and the order in which tuning takes them."""

import random
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl


def read_prompts(path: Path, limit: int = 0) -> list[dict[str, Any]]:
    """Return the prompts of a JSON Lines file, in its order, the first `limit` if that is not 0.

    Each is {id, input, output}, and `control`, the control tokens in its input that are meant as such, if there are
    any. Raises `BadInput` naming the record where input or output is missing or empty.
    """
    rows = []
    for number, row in enumerate(read_jsonl(path), 1):
        for key in ("input", "output"):
            if not isinstance(row.get(key), str) or not row[key].strip():
                raise BadInput(f"{path}: record {row.get('id', number)} has no {key}: check adapters.<name>.prompt")
        control = row.get("control", [])
        if not isinstance(control, list) or not all(isinstance(token, str) for token in control):
            raise BadInput(
                f"{path}: record {row.get('id', number)}: control is no list of control tokens: leave it out"
            )
        rows.append(row)
        if len(rows) == limit:
            break
    return rows


def training_order(records: int, wanted: int, seed: int) -> list[int]:
    """Return `wanted` indices into `records` prompts: all of them in a seeded order, then all in another, and so on.

    It follows from the seed alone, so that an audit can tell which records a checkpoint had seen.
    """
    order: list[int] = []
    generator = random.Random(seed)
    while len(order) < wanted:
        order += generator.sample(range(records), records)
    return order[:wanted]
