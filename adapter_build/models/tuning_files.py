"""A base's configuration and tokenizer as tuning and evaluation read them, with transformers 4.53."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import read_object
from adapter_build.models.base_settings import MEND, dtype_for_tuning, rope_for_tuning, tokens_for_tuning

FETCH = "check base.name and base.path"


def config_of(folder: Path) -> Any:
    """Return the configuration of the Hugging Face files in a folder. Raises `BadInput` naming the file."""
    path = folder / "config.json"
    content = read_object(path, FETCH)
    rope, dtype = rope_for_tuning(content, path), dtype_for_tuning(content)
    try:
        return AutoConfig.from_pretrained(folder, **rope, **({"torch_dtype": getattr(torch, dtype)} if dtype else {}))
    except Exception as error:  # whatever transformers stumbles over
        raise BadInput(f"{path}: transformers 4.53 (tuning) cannot read it: {_reason(error)}: correct it") from None


def tokenizer_of(folder: Path) -> Any:
    """Return the tokenizer of the Hugging Face files in a folder. Raises `BadInput` naming the file and the mend."""
    path = folder / "tokenizer_config.json"
    settings = read_object(path, FETCH)
    plain = settings.get("tokenizer_class") == "TokenizersBackend"  # 5's name of the same class
    try:
        kind = PreTrainedTokenizerFast if plain else AutoTokenizer
        return kind.from_pretrained(folder, **tokens_for_tuning(settings))
    except Exception as error:  # whatever transformers stumbles over
        raise BadInput(f"{path}: transformers 4.53 (tuning) cannot read it: {_reason(error)}: {MEND}") from None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"
