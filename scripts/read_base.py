"""Write a base's configuration and tokens as this environment reads them, for compare_base to compare.

The step runs in each environment that reads bases. The weights are not read.
"""

import argparse
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.processes import gc_paused
from adapter_build.core.strict_json import read_object
from adapter_build.models.control_tokens import as_text
from adapter_build.models.hostile_texts import PROMPT, texts_with
from adapter_build.models.tokenizer_files import ROLES
from adapter_build.models.tokenizer_mends import changed, mends

SHAPE = (
    "attention_bias", "head_dim", "hidden_act", "hidden_size", "intermediate_size", "max_position_embeddings",
    "mlp_bias", "model_type", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps",
    "tie_word_embeddings", "vocab_size",
)  # fmt: skip
PLACES = (1, 10, 100, 1000)  # at which rotary embeddings are compared
DIGITS = 4  # of their cosines
BYTE = re.compile(r"<0x[0-9A-F]{2}>$")
MEND = "check base.name and base.path"


def main() -> None:
    """Write the reading."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="the base's Hugging Face files")
    parser.add_argument("--reading", type=Path, required=True, help="the reading to write, as JSON")
    options = parser.parse_args()
    if len({path.parent for path in options.files}) > 1:
        raise BadInput("--files: they must lie in one folder")
    reading = read(options.files[0].parent, this_reader())
    options.reading.write_text(json.dumps(reading, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def this_reader() -> ModuleType:
    """Return the module that reads bases in this environment: the engine's where vLLM is installed, else tuning's."""
    with gc_paused():
        if importlib.util.find_spec("vllm"):
            from adapter_build.models import serving_reader as reader
        else:
            from adapter_build.models import tuning_reader as reader
    return reader


def read(folder: Path, by: ModuleType) -> dict[str, Any]:
    """Return the reading of the base in a folder, and a digest of its tokens with each mend that may be needed."""
    settings = read_object(folder / "tokenizer_config.json", MEND)
    content = read_object(folder / "tokenizer.json", MEND)
    special = control_tokens(settings, content)
    reading: dict[str, Any] = {"by": by.NAME, "mends": []}
    reading["config"] = attempted(lambda: config(folder, by))
    reading["stops"] = attempted(lambda: stops(folder, by))
    reading["tokens"] = attempted(lambda: tokens(folder, by, special))
    for key, words, other in mends(settings, content):
        with changed(folder, other) as mended:
            found = attempted(lambda mended=mended: tokens(mended, by, special))
        reading["mends"].append({"key": key, "words": words, "digest": None if "error" in found else digest(found)})
    return reading


def attempted(make: Any) -> dict[str, Any]:
    """Return the result of `make`, or {error: its reason}; `whole`: the reason names place and mend already."""
    try:
        return make()
    except BadInput as fault:
        return {"error": str(fault), "whole": True}  # it names file and mend
    except Exception as error:  # libraries raise errors of any kind here; compare_base reports it
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def config(folder: Path, by: ModuleType) -> dict[str, Any]:
    """Return the settings that decide the network's shape and its numbers."""
    found = by.config_of(folder)
    places = [place for place in PLACES if place < found.max_position_embeddings]
    kind = by.dtype_of(found)
    return {
        **{key: getattr(found, key, None) for key in SHAPE},
        "dtype": None if kind is None else str(kind).removeprefix("torch."),
        "rope": by.rope_of(found),
        "turns": [[round(value, DIGITS) for value in row] for row in by.turns(found, places)],
    }


def stops(folder: Path, by: ModuleType) -> dict[str, Any]:
    """Return the tokens that end an answer."""
    return {"ids": sorted(by.stops_of(folder, by.config_of(folder), by.tokenizer_of(folder)))}


def tokens(folder: Path, by: ModuleType, special: Iterable[str]) -> dict[str, Any]:
    """Return the hostile texts as tokens and back, the special tokens and their roles."""
    tokenizer = by.tokenizer_of(folder)
    bos, special = tokenizer.bos_token, sorted({*special, *tokenizer.all_special_tokens})
    prompt = tokenizer.encode(PROMPT)
    texts = []
    for text in texts_with(special, bos):
        alone = tokenizer.encode(text, add_special_tokens=False)
        texts.append(
            {
                "text": text,
                "whole": tokenizer.encode(text),
                "alone": alone,
                "read": by.answer_text(tokenizer, prompt, alone).strip(),
                "decoded": tokenizer.decode(alone, skip_special_tokens=False, clean_up_tokenization_spaces=False),
            }
        )
    numbers = {token: tokenizer.convert_tokens_to_ids(token) for token in special}
    before, behind = added(tokenizer)
    return {
        "roles": {role: [getattr(tokenizer, role), getattr(tokenizer, f"{role}_id")] for role in ROLES},
        "before": before,
        "behind": behind,
        "special": numbers,
        "disguised": disguised(tokenizer, numbers),
        "size": len(tokenizer),
        "texts": texts,
    }


def added(tokenizer: Any) -> tuple[list[str], list[str]]:
    """Return the tokens that the tokenizer puts before a text, and those behind."""
    whole, alone = (tokenizer.encode("a", add_special_tokens=flag) for flag in (True, False))
    begin = next(at for at in range(len(whole)) if whole[at : at + len(alone)] == alone)
    return tuple(map(tokenizer.convert_ids_to_tokens, (whole[:begin], whole[begin + len(alone) :])))


def disguised(tokenizer: Any, special: dict[str, int]) -> list[str]:
    """Return texts that the tokenizer reads as a control token though they do not spell one."""
    found = []
    for token, number in special.items():
        if BYTE.match(token):  # any letter may be written with it
            continue
        wide = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in token)
        for text in (as_text(token, special), wide, token.upper(), token.lower(), "\u00ad".join(token)):
            if text not in special and number in tokenizer.encode(f"a {text} b", add_special_tokens=False):
                found.append(text)
    return found


def control_tokens(settings: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """Return every token that the files mark as special or give a role."""
    named = [settings.get(role) for role in ROLES]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        value = settings.get(key) or []
        named += value.values() if isinstance(value, dict) else value
    named += [token for token in (settings.get("added_tokens_decoder") or {}).values() if token.get("special")]
    named += [token for token in content.get("added_tokens") or [] if token.get("special")]
    return sorted({token["content"] if isinstance(token, dict) else token for token in named if token})


def digest(found: dict[str, Any]) -> str:
    """Return one digest of a reading."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    run(main)
