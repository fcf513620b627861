"""An answer as it is read back: the text that evaluation scores, and that a served answer is compared by."""

from collections.abc import Sequence
from typing import Any


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of an answer's tokens as servers give it: control tokens left out, no blank taken away."""
    return tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def first_line(text: str) -> str:
    """Return an answer's first line, without space at the ends."""
    return next(iter(text.strip().splitlines()), "").strip()
