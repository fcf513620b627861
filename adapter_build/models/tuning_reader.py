"""A base as tuning and evaluation read it: by transformers 4.53, with newer keys given to it under its own names.

serving_reader has the same functions for the engine's environment; read_base takes the one that it runs in.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import read_object
from adapter_build.models.answer_tokens import decoded
from adapter_build.models.base_settings import MEND, dtype_for_tuning, rope_for_tuning, tokens_for_tuning

NAME = f"transformers {transformers.__version__}"
FETCH = "check base.name and base.path"


def config_of(folder: Path) -> Any:
    """Return the configuration of the Hugging Face files in a folder. Raises `BadInput` naming the file."""
    path = folder / "config.json"
    content = read_object(path, FETCH)
    rope, dtype = rope_for_tuning(content, path), dtype_for_tuning(content)
    try:
        return AutoConfig.from_pretrained(folder, **rope, **({"torch_dtype": getattr(torch, dtype)} if dtype else {}))
    except Exception as error:  # transformers raises errors of any kind here
        raise BadInput(f"{path}: transformers 4.53 (tuning) cannot read it: {_reason(error)}: correct it") from None


def tokenizer_of(folder: Path) -> Any:
    """Return the tokenizer of the Hugging Face files in a folder. Raises `BadInput` naming the file and the mend."""
    path = folder / "tokenizer_config.json"
    settings = read_object(path, FETCH)
    plain = settings.get("tokenizer_class") == "TokenizersBackend"  # 5's name of the same class
    try:
        kind = PreTrainedTokenizerFast if plain else AutoTokenizer
        return kind.from_pretrained(folder, **tokens_for_tuning(settings))
    except Exception as error:  # transformers raises errors of any kind here
        raise BadInput(f"{path}: transformers 4.53 (tuning) cannot read it: {_reason(error)}: {MEND}") from None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"


def dtype_of(config: Any) -> Any:
    """Return the weights' dtype by the configuration, if it has one."""
    return config.torch_dtype


def rope_of(config: Any) -> dict[str, Any]:
    """Return the settings of rotary embeddings, for messages."""
    return {"rope_type": "default", **(config.rope_scaling or {}), "rope_theta": config.rope_theta}


def turns(config: Any, places: Sequence[int]) -> list[list[float]]:
    """Return the turn of rotary embeddings at each position in `places`: half a head's cosines, then its sines."""
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1), torch.tensor([places]))
    half = cos.shape[-1] // 2
    return torch.cat([cos[0, :, :half], sin[0, :, :half]], -1).tolist()


def stops_of(folder: Path, config: Any, tokenizer: Any) -> set[int]:
    """Return the numbers of the tokens that end an answer, as evaluate_adapter takes them."""
    there = (folder / "generation_config.json").is_file()
    settings = GenerationConfig.from_pretrained(folder) if there else GenerationConfig.from_model_config(config)
    found = settings.eos_token_id or tokenizer.eos_token_id
    return set(found if isinstance(found, list) else [found])


def answer_text(tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """Return the text of an answer's tokens."""
    return decoded(tokenizer, tokens)
