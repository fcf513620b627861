"""Prompts and answers as tokens, the same for training, evaluation and serving, and answers read back as text.

A training text is prompt + " " + answer + end token, and its loss is that of the answer and the end token alone. The
prompt's tokens are those that a server sees; the answer's begin with its leading space.

BOS stands before a prompt exactly if the base's tokenizer puts it there; a prompt that writes BOS itself has one. A
prompt has the control tokens that its program wrote, the row's `control`, and an answer has the end token alone:
wherever else a text mentions control tokens, they are text.
"""

import functools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.models.control_tokens import as_text, found_in, once_begun

IGNORED = -100  # the label that PyTorch's cross entropy leaves out


@dataclass(frozen=True)
class Example:
    """The tokens of one record, of which the first `prompt` are the prompt's; `cut` prompt tokens were left out."""

    tokens: list[int]
    prompt: int
    cut: int


def fit_prompt(tokenizer: Any, text: str, room: int, control: Collection[str] = ()) -> tuple[list[int], int]:
    """Return a prompt's tokens, at most `room`, and how many were cut.

    The end of the question is cut: the prompt's last line (`TITLE:`), which asks for the answer, stays. `control` are
    the control tokens that count as such in the text. Raises `ValueError` if there is not even room for the last line.
    """
    bos = tokenizer.bos_token
    begun = [tokenizer.bos_token_id]
    adds_bos = bos is not None and tokenizer.encode("")[:1] == begun
    text = once_begun(text, bos, adds_bos)
    if bos is not None and text.startswith(bos):
        control = {*control, bos}
    tokens = text_tokens(tokenizer, text, control, whole=True)
    if len(tokens) <= room:
        return tokens, 0
    start = text.rfind("\n")
    cue = text_tokens(tokenizer, text[start:], control) if start >= 0 else []
    if len(cue) >= room:
        raise ValueError(f"{len(cue)} tokens of its last line alone do not fit into {room}")
    return tokens[: room - len(cue)] + cue, len(tokens) - room


def text_tokens(tokenizer: Any, text: str, control: Collection[str] = (), *, whole: bool = False) -> list[int]:
    """Return a text's tokens, reading no control tokens in it but those of `control`.

    `whole`: the text is a whole one, to which the tokenizer adds its own (BOS).
    """
    spoken_of = found_in(text, control_tokens(tokenizer))
    foreign = [token for token in spoken_of if token not in control]
    mixed = len(foreign) < len(spoken_of)
    if mixed and foreign:
        text = as_text(text, foreign)
    tokens = tokenizer.encode(text, add_special_tokens=whole, split_special_tokens=not mixed)
    added = tokenizer.num_special_tokens_to_add() if whole else 0
    ends = {number for number in (tokenizer.eos_token_id, tokenizer.bos_token_id) if number is not None}
    if not mixed and ends.intersection(tokens[added:]):  # a token that tokenizer.json calls no special one
        return tokenizer.encode(as_text(text, foreign), add_special_tokens=whole)
    return tokens


@functools.lru_cache(maxsize=4)
def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Return the tokenizer's control tokens."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return tuple(sorted({*added, *tokenizer.all_special_tokens}))


def encode(tokenizer: Any, row: dict[str, Any], length: int, where: Path) -> Example:
    """Return a record as an example of at most `length` tokens. Raises `BadInput` if its answer does not fit."""
    answer = [*text_tokens(tokenizer, f" {row['output'].strip()}"), tokenizer.eos_token_id]
    try:
        prompt, cut = fit_prompt(tokenizer, row["input"], length - len(answer), row.get("control", ()))
    except ValueError as error:
        raise BadInput(
            f"{where}: record {row.get('id')}: its answer has {len(answer)} tokens, and of its prompt {error}: "
            "raise adapters.<name>.sequence_length"
        ) from None
    return Example(prompt + answer, len(prompt), cut)


def collate(examples: Sequence[Example], pad: int) -> dict[str, list]:
    """Return a micro-batch as lists: input_ids (examples, width), logits_to_keep (kept,), labels (examples, kept).

    Padding stands at the end, where causal attention never sees it, so there is no mask. Logits are computed only at
    the positions where some example has a token to predict, `logits_to_keep`; `labels` has the next token there, or
    IGNORED. The loss is the same as over all positions; on a CPU a fifth of the time is saved.
    """
    width = max(len(example.tokens) for example in examples) - 1  # the last token predicts nothing
    spans = [range(example.prompt - 1, len(example.tokens) - 1) for example in examples]
    keep = sorted(set().union(*spans))
    return {
        "input_ids": [_pad(example.tokens[:-1], width, pad) for example in examples],
        "logits_to_keep": keep,
        "labels": [
            [example.tokens[place + 1] if place in span else IGNORED for place in keep]
            for example, span in zip(examples, spans, strict=True)
        ],
    }


def _pad(tokens: list[int], width: int, pad: int) -> list[int]:
    return tokens + [pad] * (width - len(tokens))


def real_tokens(examples: Iterable[Example]) -> int:
    """Count the tokens that the examples feed to the model, without padding."""
    return sum(len(example.tokens) - 1 for example in examples)


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of an answer's tokens as servers give it: control tokens left out, no blank taken away."""
    return tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def first_line(text: str) -> str:
    """Return an answer's first line, without space at the ends."""
    return next(iter(text.strip().splitlines()), "").strip()
