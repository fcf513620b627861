"""The conditions for a base model: Llama-shaped, whole, in full precision, with one end token that generation obeys."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.printable import shown
from adapter_build.core.strict_json import given_object
from adapter_build.models.base_settings import check_settings
from adapter_build.models.base_weights import check_base_weights, check_quantisation
from adapter_build.models.llama_shape import LlamaShape, positions, shape_of
from adapter_build.models.tokenizer_files import MEND, TokenizerFiles, check_end

ARCHITECTURE = "LlamaForCausalLM"
TOKENIZER = ("tokenizer_config.json", "tokenizer.json")


def named(files: Iterable[Path]) -> dict[str, Path]:
    """Return the files by base name."""
    return {path.name: path for path in files}


def check_base(files: Iterable[Path]) -> None:
    """Check a base's Hugging Face files. Raises `BadInput` naming the file and what is wrong with it."""
    by_name = named(path for path in files if not path.is_dir())
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if name not in by_name:
            raise BadInput(f"the base has no {name}: {MEND}")
    config, shape = read_shape(by_name)
    check_base_weights(by_name, config, shape)
    check_tokens(by_name, config, shape.vocabulary)


def read_shape(by_name: Mapping[str, Path]) -> tuple[dict[str, Any], LlamaShape]:
    """Return what a base's config.json says, checked, and the shape that it gives. Raises `BadInput`."""
    where = by_name["config.json"]
    config = given_object(where, MEND)
    check_llama(config, where)
    check_quantisation(config, where)
    check_settings(config, *(given_object(by_name[name], MEND) for name in TOKENIZER), by_name)
    shape = shape_of(config, where)
    positions(config, where)
    return config, shape


def check_tokens(by_name: Mapping[str, Path], config: Mapping[str, Any], rows: int) -> None:
    """Check a base's tokenizer, of which `rows` tokens have a row of the base's. Raises `BadInput`."""
    tokens = TokenizerFiles(by_name)
    check_end(tokens, by_name, config)
    check_vocabulary(tokens, rows, by_name["config.json"])


def check_llama(config: dict[str, Any], where: Path) -> None:
    """Refuse a config.json that is not of a Llama-shaped model."""
    if config.get("model_type") != "llama" or config.get("architectures") != [ARCHITECTURE]:
        raise BadInput(
            f"{where}: a {shown(config.get('model_type'))} model with architectures "
            f"{shown(config.get('architectures'))}, but only Llama-shaped bases ('llama', ['{ARCHITECTURE}']) can be "
            "tuned and served: set base.name to another base"
        )


def check_vocabulary(tokens: TokenizerFiles, rows: int, where: Path) -> None:
    """Refuse a tokenizer that uses a token for which the base has no row."""
    text, number = max(tokens.used(), key=lambda token: token[1], default=("", -1))
    if number >= rows:
        raise BadInput(
            f"{tokens.tokenizer}: token {shown(text)} has the number {number}, but vocab_size in {where} is {rows}: "
            "take tokenizer and weights of one base"
        )
