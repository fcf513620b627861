"""Clients that ask a server at the same time, as fast as it answers, and what their answers tell."""

import asyncio
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import openai

SECONDS_TO_ANSWER = 300.0
SECONDS_AFTER_ERROR = 0.2  # a client that gets none asks again, not at once
# What each model answers to each prompt when nobody else asks: (model, prompt) to text.
Expected = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Reply:
    """Outcome of one request; times are of the monotonic clock, in seconds. Without an answer `status` is 0."""

    model: str
    prompt: str
    began: float
    ended: float
    status: int = 200
    error: str = ""
    text: str = ""
    tokens: int = 0


async def load(
    url: str,
    models: Sequence[str],
    prompts: Sequence[str],
    *,
    clients: int,
    most: int,
    seconds: float = math.inf,
    requests: float = math.inf,
    patience: float = SECONDS_TO_ANSWER,
) -> list[Reply]:
    """Let `clients` ask for `most` tokens again and again, for `seconds` or until `requests` were sent.

    Every client goes through all pairs of model and prompt, the next client from the next pair on. Requests that were
    sent by then are waited for, each `patience` seconds at the most.
    """
    pairs = [(model, prompt) for prompt in prompts for model in models]
    turns, replies = itertools.count(), []
    until = time.monotonic() + seconds
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=patience)

    async def ask_again(first: int) -> None:
        for model, prompt in itertools.islice(itertools.cycle(pairs), first, None):
            if time.monotonic() >= until or next(turns) >= requests:
                return
            replies.append(await _ask(client, model, prompt, most))
            if replies[-1].status != 200:
                await asyncio.sleep(SECONDS_AFTER_ERROR)

    async with client:
        await asyncio.gather(*(ask_again(number % len(pairs)) for number in range(clients)))
    return replies


async def _ask(client: openai.AsyncOpenAI, model: str, prompt: str, most: int) -> Reply:
    began = time.monotonic()
    try:
        answer = await client.completions.create(model=model, prompt=prompt, max_tokens=most, temperature=0)
    except openai.APIStatusError as error:
        return Reply(model, prompt, began, time.monotonic(), error.status_code, str(error))
    except openai.APIConnectionError as error:  # and its timeout
        return Reply(model, prompt, began, time.monotonic(), 0, type(error).__name__)
    tokens = answer.usage.completion_tokens if answer.usage else 0
    return Reply(model, prompt, began, time.monotonic(), text=answer.choices[0].text.strip(), tokens=tokens)


async def alone(url: str, models: Sequence[str], prompts: Sequence[str], most: int) -> dict[tuple[str, str], str]:
    """Return what each model answers to each prompt, one request at a time."""
    pairs = len(models) * len(prompts)
    replies = await load(url, models, prompts, clients=1, most=most, requests=pairs)
    return {(reply.model, reply.prompt): reply.text for reply in replies}


def told_apart(expected: Expected) -> bool:
    """Tell if each prompt's answer identifies the model that gave it."""
    return len({(prompt, text) for (_, prompt), text in expected.items()}) == len(expected)


def wrong(replies: Sequence[Reply], expected: Expected) -> list[Reply]:
    """Return the answers that are not what their model says when nobody else asks."""
    return [reply for reply in replies if reply.status == 200 and reply.text != expected[reply.model, reply.prompt]]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
