"""Reading a base as tuning and evaluation do: by transformers 4.53, given what it knows under its own names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GenerationConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from adapter_build.models.answer_text import decoded
from adapter_build.models.tuning_files import config_of, tokenizer_of

NAME = f"transformers {transformers.__version__}"


def config(folder: Path) -> Any:
    """Return the configuration."""
    return config_of(folder)


def dtype(config: Any) -> Any:
    """Return the type of numbers that the configuration says the weights have, if any."""
    return config.torch_dtype


def rope(config: Any) -> dict[str, Any]:
    """Return the settings of rotary embeddings, for people to read."""
    return {"rope_type": "default", **(config.rope_scaling or {}), "rope_theta": config.rope_theta}


def turns(config: Any, places: Sequence[int]) -> list[list[float]]:
    """Return how far rotary embeddings turn at each of the places: the cosines, then the sines."""
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1), torch.tensor([places]))
    half = cos.shape[-1] // 2
    return torch.cat([cos[0, :, :half], sin[0, :, :half]], -1).tolist()


def tokenizer(folder: Path) -> Any:
    """Return the tokenizer."""
    return tokenizer_of(folder)


def stops(folder: Path, config: Any, tokenizer: Any) -> set[int]:
    """Return the tokens that end an answer, as evaluate_adapter has them."""
    there = (folder / "generation_config.json").is_file()
    settings = GenerationConfig.from_pretrained(folder) if there else GenerationConfig.from_model_config(config)
    found = settings.eos_token_id or tokenizer.eos_token_id
    return set(found if isinstance(found, list) else [found])


def answer(tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """Return the text of an answer's tokens."""
    return decoded(tokenizer, tokens)
