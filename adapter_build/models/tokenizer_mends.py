"""LargestChange of a base's tokenizer_config.json that may make all environments read it alike.

read_base tries each that applies to the base; compare_base names the first that is proven to help.
"""

import json
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapter_build.models.base_settings import MEND, PLAIN
from adapter_build.models.tokenizer_files import ROLES

# Keys that have no influence on tokens.
INERT = {
    *ROLES, "tokenizer_class", "model_max_length", "chat_template", "clean_up_tokenization_spaces", "padding_side",
    "truncation_side", "model_input_names", "backend", "is_local", "errors", "use_default_system_prompt",
    "spaces_between_special_tokens", "name_or_path", "special_tokens_map_file", "tokenizer_file",
}  # fmt: skip

Settings = dict[str, Any]


def mends(settings: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, str, Settings]]:
    """Yield the key at fault, the mend in words, and tokenizer_config.json with it, the smallest change first."""
    suspects = [key for key in settings if key not in INERT and not _agrees(key, settings[key], tokenizer)]
    for key in suspects:
        yield key, f"remove {key}", {name: value for name, value in settings.items() if name != key}
    prefixed = "add_prefix_space" not in settings and (tokenizer.get("pre_tokenizer") or {}).get("add_prefix_space")
    if prefixed:
        yield (
            "add_prefix_space",
            "set add_prefix_space to true, as tokenizer.json has it",
            {**settings, "add_prefix_space": True},
        )
    if settings.get("tokenizer_class") != PLAIN:
        plain = {**settings, "tokenizer_class": PLAIN}
        yield "tokenizer_class", MEND, plain
        for key in suspects:
            least = {name: value for name, value in plain.items() if name != key}
            yield "tokenizer_class", f"{MEND} and remove {key}", least
        if prefixed:
            least = {**plain, "add_prefix_space": True}
            yield "tokenizer_class", f"{MEND} and add_prefix_space to true, as tokenizer.json has it", least
    if len(suspects) > 1:
        least = {key: settings[key] for key in settings if key in INERT} | {"tokenizer_class": PLAIN}
        yield suspects[0], f"{MEND} and remove {', '.join(suspects)}", least


@contextmanager
def changed(folder: Path, settings: Settings) -> Generator[Path]:
    """Yield a folder with a base's JSON files, its tokenizer_config.json with these settings instead."""
    with tempfile.TemporaryDirectory() as scratch:
        for path in folder.glob("*.json"):
            (Path(scratch) / path.name).symlink_to(path.absolute())
        own = Path(scratch) / "tokenizer_config.json"
        own.unlink()
        own.write_text(json.dumps(settings), encoding="utf-8")
        yield Path(scratch)


def _agrees(key: str, value: Any, tokenizer: Mapping[str, Any]) -> bool:
    """Tell if a key repeats tokenizer.json, and adds nothing to it."""
    added = {token["content"]: token for token in tokenizer.get("added_tokens") or []}
    if key == "added_tokens_decoder":
        said = {str(token["id"]): {**token, "id": None} for token in added.values()}
        return all(said.get(number) == {**token, "id": None} for number, token in value.items())
    if key in ("additional_special_tokens", "extra_special_tokens"):
        tokens = value.values() if isinstance(value, dict) else value or []
        names = [token["content"] if isinstance(token, dict) else token for token in tokens]
        return all(name in added and added[name]["special"] for name in names)
    return False
