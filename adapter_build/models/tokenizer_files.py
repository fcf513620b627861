"""A base's tokens, by its files alone: their numbers, their roles, and the check that generation stops at their end.

Roles are read as transformers 4.53 and 5 both do: special_tokens_map.json overrides a tokenizer_config.json that has no
added_tokens_decoder.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.printable import shown
from adapter_build.core.strict_json import given_object

MEND = "check base.name, base.path and its entry in data.lock.yaml"
ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")
# The tokens of a class for roles that no file names.
LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
DEFAULTS = {"LlamaTokenizer": LLAMA, "LlamaTokenizerFast": LLAMA}


class TokenizerFiles:
    """The tokenizer among a base's files, by their names: tokenizer.json, tokenizer_config.json, maybe others.

    Every method raises `BadInput`, naming the file, where that does not keep to the format.
    """

    def __init__(self, by_name: Mapping[str, Path]) -> None:
        self.tokenizer, self.config = by_name["tokenizer.json"], by_name["tokenizer_config.json"]
        self._map = by_name.get("special_tokens_map.json")
        self._settings = given_object(self.config, MEND)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Mapping of text → number of every token of tokenizer.json."""
        model = self._content.get("model")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        try:
            if isinstance(vocabulary, list):  # Unigram: pairs of a piece and its score
                numbers = {piece: number for number, (piece, _) in enumerate(vocabulary)}
            else:
                numbers = dict(vocabulary or {})
            added = {token["content"]: token["id"] for token in self._added}
            if not all(type(number) is int and number >= 0 for number in (*numbers.values(), *added.values())):
                raise ValueError("a token's number is no integer")
        except (TypeError, ValueError, KeyError) as error:
            raise BadInput(f"{self.tokenizer}: its tokens are not texts and numbers ({error!r}): {MEND}") from None
        return numbers | added

    @cached_property
    def declared(self) -> dict[str, int]:
        """Mapping of text → number of the tokens in tokenizer_config.json's added_tokens_decoder."""
        try:
            decoder = self._settings.get("added_tokens_decoder") or {}
            return {token["content"]: int(number) for number, token in decoder.items()}
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            reason = f"added_tokens_decoder is not of numbers and their tokens ({error!r})"
            raise BadInput(f"{self.config}: {reason}: {MEND}") from None

    def text(self, role: str) -> tuple[str | None, Path]:
        """Return the text of the token with a role, or None, and the file that decides it."""
        default = DEFAULTS.get(str(self._settings.get("tokenizer_class")), {}).get(role)
        text = _content(self._settings.get(role, default), role, self.config)
        if "added_tokens_decoder" not in self._settings and self._map:
            specials = given_object(self._map, MEND)
            if role in specials:
                return _content(specials[role], role, self._map), self._map
        return text, self.config

    def end(self) -> tuple[str, int]:
        """Return the end token's text and number."""
        text, where = self.text("eos_token")
        if text is None:
            raise BadInput(f"{where}: names no eos_token, so nothing would end an answer: set it to the base's own")
        own = _content(self._settings.get("eos_token"), "eos_token", self.config)
        stated = self._number(own, self.config) if own else None
        number = self._number(text, where) if stated is None or text != own else stated
        if own and text != own:
            raise BadInput(
                f"{self.config}: eos_token is {shown(own)}, but {shown(text)} in {where.name}: correct the one that is "
                "wrong"
            )
        if self.declared.get(text, number) != number:
            raise BadInput(
                f"{self.config}: added_tokens_decoder gives {shown(text)} the number {self.declared[text]}, "
                f"tokenizer.json {number}: correct the one that is wrong"
            )
        return text, number

    def specials(self) -> dict[str, int]:
        """Return text → number of the special tokens and the end token."""
        text, number = self.end()
        numbers = self.numbers
        return {token["content"]: numbers[token["content"]] for token in self._added if token.get("special")} | {
            text: number
        }

    def used(self) -> Iterator[tuple[str, int]]:
        """Yield text and number of each token that a text or a batch may hold: all but special ones without a role.

        A token with a role that tokenizer.json lacks is added by transformers after all others.
        """
        roles = {text for text, _ in map(self.text, ROLES) if text}
        special = {token["content"] for token in self._added if token.get("special")} - roles
        yield from ((text, number) for text, number in self.numbers.items() if text not in special)
        behind = max(self.numbers.values(), default=-1) + 1
        yield from ((text, self.declared.get(text, behind)) for text in sorted(roles - set(self.numbers)))

    def _number(self, end: str, where: Path) -> int:
        number = self.numbers.get(end)
        if number is None and self.declared.get(end) not in (None, *self.numbers.values()):
            number = self.declared[end]
        if number is None:
            raise BadInput(
                f"{where}: eos_token {shown(end)} is no special token of tokenizer.json, nor in its vocabulary: "
                "correct it"
            )
        return number

    @cached_property
    def _content(self) -> dict[str, Any]:
        return given_object(self.tokenizer, MEND)

    @property
    def _added(self) -> list[dict[str, Any]]:
        added = self._content.get("added_tokens") or []
        if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
            raise BadInput(f"{self.tokenizer}: its added_tokens are no list of tokens: {MEND}")
        return added


def _content(value: Any, role: str, where: Path) -> str | None:
    text = value.get("content") if isinstance(value, dict) else value
    if value is not None and (not isinstance(text, str) or not text):
        raise BadInput(f"{where}: {role} is {shown(value)}; expected a text, or an object with its content: correct it")
    return text


def end_token(by_name: Mapping[str, Path]) -> tuple[str, int]:
    """Return the text and the number of the token that ends an answer. Raises `BadInput` where there is none."""
    return TokenizerFiles(by_name).end()


def check_end(tokens: TokenizerFiles, by_name: Mapping[str, Path], config: Mapping[str, Any]) -> None:
    """Refuse a base whose tokenizer ends a text with a token on which generation does not stop.

    Where neither generation_config.json nor config.json names any, every reader stops at the tokenizer's own.
    """
    text, number = tokens.end()
    for name in ("generation_config.json", "config.json"):
        if name not in by_name:
            continue
        where = by_name[name]
        found = (config if name == "config.json" else given_object(where, MEND)).get("eos_token_id")
        stops = found if isinstance(found, list) else [] if found is None else [found]
        if not all(type(stop) is int and stop >= 0 for stop in stops):
            raise BadInput(
                f"{where}: eos_token_id is {shown(found)}; expected a token's number, or a list of them: correct it"
            )
        if stops and number not in stops:
            raise BadInput(
                f"{where}: eos_token_id is {shown(found)}, but the tokenizer's end token {shown(text)} is {number}: "
                "generation would run on past the answer; correct the one that is wrong"
            )
        if stops:
            return
