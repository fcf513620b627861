"""A base with an adapter on it, and the answers of both as texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adapter_build.core.progress import Progress
from adapter_build.evaluation.greedy_answers import answers
from adapter_build.models.answer_tokens import decoded, first_line
from adapter_build.models.tuning_reader import config_of, tokenizer_of


def load(base: Path, adapter: Path) -> tuple[Any, Any]:
    """Return the base with the adapter on it, and the tokenizer; on a GPU in bfloat16, else in float32.

    The adapter is not added into the base's weights: in bfloat16 most of it would be rounded off there, servers keep it
    apart too, and the base answers from weights that nothing was added to and taken from.
    """
    device, dtype = ("cuda:0", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    model = AutoModelForCausalLM.from_pretrained(base, config=config_of(base), torch_dtype=dtype).to(device)
    return PeftModel.from_pretrained(model, adapter).eval(), tokenizer_of(base)


def answer_texts(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], most: int, together: int, bar: Progress
) -> list[str]:
    """Return the first lines of the answers, of `most` new tokens at most, to prompts given as tokens, in their order.

    `together` bounds the tokens of a batch, and so the memory. `bar` is moved on by every answer.
    """
    # The base's own stop tokens and nothing else of its settings: some bases sample by default.
    stops = model.generation_config.eos_token_id or tokenizer.eos_token_id
    texts: dict[int, str] = {}
    for number, tokens in answers(
        model.get_base_model(), prompts, most, stops if isinstance(stops, list) else [stops], together
    ):
        texts[number] = first_line(decoded(tokenizer, tokens))
        bar.update()
    return [texts[number] for number in range(len(prompts))]
