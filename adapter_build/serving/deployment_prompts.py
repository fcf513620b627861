"""Prompts that a deployment is asked: some of evaluation's, as evaluation read them."""

import json
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl
from adapter_build.serving.request_bounds import MAX_BODY

PREDICTIONS = ".predictions.jsonl"
PROMPTS = 8  # of each adapter; all that fit where there are fewer
REST_OF_BODY = 1024  # bytes of a request, beside its prompt
KEYS = ("id", "input", "base", "adapter", "prompt_tokens", "cut_tokens")

Row = dict[str, Any]


def read_predictions(path: Path) -> list[Row]:
    """Return an adapter's predictions. Raises `BadInput` for those of a version that did not count prompts' tokens."""
    rows = list(read_jsonl(path))
    for number, row in enumerate(rows, 1):
        if missing := [key for key in KEYS if row.get(key) is None]:
            raise BadInput(f"{path}: record {row.get('id', number)} has no {missing[0]}: evaluate again: run `make`")
    return rows


def deployment_prompts(path: Path, adapter: str, length: int, answer: int, longest: int = 0) -> list[Row]:
    """Return the rows of predictions that adapter and base are asked: the golden row, then others in their order.

    The golden row is the first in which base and adapter both answer, and differently. Rows whose prompt evaluation has
    cut come last: they are asked by their tokens, `cut_prompt`. A row is asked only if a server of `length` tokens has
    room for its prompt and `answer` tokens. Raises `BadInput` where no golden row is left; `longest` is the greatest
    length that the server could be set to.
    """
    rows = read_predictions(path)
    differing = [row for row in rows if _differs(row)]
    if not differing:
        raise BadInput(
            f"{path}: in no row does the adapter answer otherwise than its base: "
            f"raise adapters.{adapter}.max_steps or adapters.{adapter}.learning_rate"
        )
    fitting = [row for row in rows if _fits(row, length - answer)]
    fitting.sort(key=lambda row: row["cut_tokens"] > 0)
    golden = next((row for row in fitting if _differs(row)), None)
    if golden is None:
        needed = min(row["prompt_tokens"] + row["cut_tokens"] for row in differing) + answer
        limit = f"{length} tokens: the shortest takes {needed} with its answer"
        if needed <= length:
            limit = f"{MAX_BODY} bytes of a request"
        lengthen = f"set deploy.embedded.context_length to {needed} or more, or " if length < needed <= longest else ""
        raise BadInput(
            f"{path}: no prompt on which adapter and base differ fits the server's {limit}: {lengthen}"
            "keep long posts out of the test split (curate.filtered_splits, curate.max_words)"
        )
    return [golden, *(row for row in fitting if row is not golden)][:PROMPTS]


def _differs(row: Row) -> bool:
    base, adapter = row["base"].strip(), row["adapter"].strip()
    return bool(base and adapter) and base != adapter


def prompt_of(row: Row) -> str | list[int]:
    """Return a row's prompt for a server: its text, or the tokens that evaluation left of it."""
    return row.get("cut_prompt") or row["input"]


def _fits(row: Row, room: int) -> bool:
    if (row["cut_tokens"] and not row.get("cut_prompt")) or row["prompt_tokens"] > room:
        return False
    return len(json.dumps(prompt_of(row))) <= MAX_BODY - REST_OF_BODY
