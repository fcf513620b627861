"""Bases that name their end token in each of the places that the formats have for it."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapter_samples import SPECIALS

from adapter_build.models.base_checks import named

END, OTHER = SPECIALS[2], SPECIALS[0]


def as_object(text: str) -> dict[str, Any]:
    """Return a token as transformers writes one."""
    return {
        "__type": "AddedToken", "content": text, "lstrip": False, "normalized": False, "rstrip": False,
        "single_word": False,
    }  # fmt: skip


def decoder(*texts: str) -> dict[str, Any]:
    """Return an added_tokens_decoder of these special tokens."""
    return {
        str(SPECIALS.index(text)): {key: value for key, value in as_object(text).items() if key != "__type"}
        | {"special": True}
        for text in texts
    }


def placed(sound: Path, folder: Path, own: Any, mapped: Any, decoded: Any, added: bool) -> dict[str, Path]:
    """Write the base with the end token in tokenizer_config.json, special_tokens_map.json; ... leaves a key out."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sound.iterdir():
        if not (folder / path.name).exists():
            (folder / path.name).hardlink_to(path)
    tokenizer = json.loads((sound / "tokenizer.json").read_text())
    if not added:
        tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != END]
    contents = {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIALS[1], "eos_token": own,
            "added_tokens_decoder": decoded,
        },
        "special_tokens_map.json": {"bos_token": SPECIALS[1], "eos_token": mapped},
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).unlink()
        (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    return named(folder.iterdir())


def places() -> Iterator[tuple[Any, Any, Any, bool]]:
    """Yield combinations of places: the end token in one of them or both, as a text or an object."""
    forms = [END, as_object(END), ...]
    for own, mapped, decoded, added in itertools.product(forms, forms, [..., decoder(END)], [True, False]):
        if own is not ... or (mapped is not ... and decoded is ...):
            yield own, mapped, decoded, added
