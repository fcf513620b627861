"""Canary: a prompt whose answer is known, asked of base and adapters inside the server again and again.

The expected answer is recorded when the engine has started, or an adapter came. Only tokens before the first near tie
are compared: the other requests of a batch may flip that token, by rounding alone.
"""

import asyncio
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PROMPTS = ("Once upon a time, there was a", "The capital of France is", "QUESTION: May I keep it?\n\nTITLE:")
TOKENS = 3  # of an answer
MARGIN = 0.1  # between the best token and the next, in log probability: rounding moves it by far less
CHANGED = "the canary's answer changed"
NO_NUMBER = "the canary's answer is NaN"
_numbers = itertools.count()


@dataclass(frozen=True)
class Answer:
    """Greedy answer of a model to one prompt: its tokens, and the margin in log probability of each."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    margins: tuple[float, ...]

    @property
    def sound(self) -> bool:
        """Tell if the model's logits are numbers."""
        return bool(self.margins) and all(map(math.isfinite, self.margins))

    @property
    def firm(self) -> tuple[int, ...]:
        """Tokens before the first near tie."""
        near = next((index for index, margin in enumerate(self.margins) if margin < MARGIN), len(self.margins))
        return self.tokens[:near]


def difference(expected: Answer, answer: Answer) -> str | None:
    """Return the fault of an answer to the expected answer's prompt, or None."""
    if not answer.sound:
        return NO_NUMBER
    firm = expected.firm
    return CHANGED if answer.tokens[: len(firm)] != firm else None


async def first_answer(engine: Any, adapter: Any = None) -> Answer:
    """Return the base's or an adapter's answer with the most firm tokens, of those to all prompts."""
    tokenizer = engine.get_tokenizer()
    prompts = [tuple(tokenizer.encode(prompt)) for prompt in PROMPTS]
    answers = await asyncio.gather(*(ask(engine, prompt, adapter) for prompt in prompts))
    unsound = [answer for answer in answers if not answer.sound]
    return unsound[0] if unsound else max(answers, key=lambda answer: len(answer.firm))


async def ask(engine: Any, prompt: Sequence[int], adapter: Any = None) -> Answer:
    """Return the greedy answer of vLLM's engine client; `adapter` is a LoRARequest."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    how = SamplingParams(
        temperature=0.0, max_tokens=TOKENS, ignore_eos=True, logprobs=2, detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )  # fmt: skip
    asked = {"prompt_token_ids": list(prompt)}
    [last] = [given async for given in engine.generate(asked, how, f"canary-{next(_numbers)}", lora_request=adapter)]
    made = last.outputs[0]
    return Answer(tuple(prompt), tuple(made.token_ids), tuple(map(_margin, made.logprobs, made.token_ids)))


def _margin(step: dict[int, Any], chosen: int) -> float:
    """Return the chosen token's log probability less the best other one's; vLLM gives the two best."""
    return step[chosen].logprob - max(found.logprob for token, found in step.items() if token != chosen)
