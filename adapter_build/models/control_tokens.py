"""Control tokens of a base (`<|eot_id|>`, `</s>`, …), and their escape to text where a post mentions them.

Any tokenizer reads a control token wherever it stands. A blank after its first letter makes it text, for this project's
tuning and evaluation as for vLLM, NIM and every other server.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import given_object


@dataclass(frozen=True)
class BaseFacts:
    """Facts of a base's tokenizer that decide how prompts are written, from the file that compare_base makes.

    `adds_bos`: the tokenizer puts `bos` before every text. `control` are all special tokens.
    """

    bos: str | None
    adds_bos: bool
    control: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "BaseFacts":
        """Return the facts of a file that compare_base wrote. Raises `BadInput`."""
        if not path.exists():
            raise BadInput(f"{path}: no such file: run make")
        try:
            content = given_object(path, "run make")
            bos, special = content["tokens"]["bos"], content["special"]
            if not all(isinstance(text, str) for text in special) or not isinstance(bos, str | None):
                raise TypeError
            return cls(bos, bool(content["adds_bos"]), tuple(sorted(special)))
        except (BadInput, KeyError, TypeError):
            raise BadInput(f"{path}: not what compare_base writes: run make") from None

    def as_text(self, value: Any) -> Any:
        """Return a JSON value whose texts, at any depth, have no control token."""
        if isinstance(value, str):
            return as_text(value, self.control)
        if isinstance(value, list):
            return [self.as_text(part) for part in value]
        return {key: self.as_text(part) for key, part in value.items()} if isinstance(value, dict) else value

    def once_begun(self, prompt: str) -> str:
        """Return a prompt without the BOS that the tokenizer will put before it, or with one in place of several."""
        return once_begun(prompt, self.bos, self.adds_bos)


def found_in(text: str, tokens: Iterable[str]) -> list[str]:
    """Return the tokens that occur in a text, sorted."""
    return sorted({token for token in tokens if token and token in text})


def once_begun(prompt: str, bos: str | None, added: bool) -> str:
    """Return a prompt with at most one BOS, and none if the tokenizer will have `added` one."""
    rest = prompt
    while bos and rest.startswith(bos):
        rest = rest[len(bos) :]
    return rest if added or rest == prompt else f"{bos}{rest}"


def as_text(text: str, tokens: Iterable[str]) -> str:
    """Return a text with a blank inside each of the tokens, so that none occurs in it any more.

    Tokens of blanks alone stay. A token that blanks cannot break (`a ` in `a  `) is deleted.
    """
    broken = [token for token in found_in(text, tokens) if token.strip()]
    if not broken:
        return text
    # The longest first; a break may make another token, one that has a blank in it.
    every = sorted((token for token in set(tokens) if token.strip()), key=lambda token: (-len(token), token))
    pattern = re.compile("|".join(map(re.escape, every)))
    for _ in range(len(every[0])):
        if not pattern.search(text):
            return text
        text = pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}" if len(match[0]) > 1 else " ", text)
    while pattern.search(text):
        text = pattern.sub("", text)
    return text
