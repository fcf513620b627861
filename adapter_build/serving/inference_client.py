"""Client of a server behind NIM's contract, embedded engine or NIM: health, models, completions over plain HTTP.

Each request shows the key (api_key.py) where there is one.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.serving.api_key import authorization

SECONDS_TO_ANSWER = 300  # 25 tokens take seconds on an idle CPU; a build may share it with others
MAX_TOKENS = 25  # the tutorial's length of a title, and what evaluation measures

# No proxy: the server is on this machine or in its own network.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Answer:
    """Greedy completion: its stripped text, its tokens, the reason of its end, and the count of its prompt's tokens.

    Tokens and count are None where the server does not give them.
    """

    text: str
    tokens: list[int] | None
    finish_reason: str
    prompt_tokens: int | None


def get(url: str, path: str, seconds: float = SECONDS_TO_ANSWER) -> tuple[int, Any]:
    """Return status and JSON body of GET `path`. Raises `BadInput` if nobody answers."""
    return _ask(urllib.request.Request(url + path), seconds)


def complete(url: str, model: str, prompt: str | list[int], most: int = MAX_TOKENS, at_once: int = 1) -> Answer:
    """Return the greedy completion of `prompt`, a text or tokens, by `model`, of `most` tokens at most.

    Raises `BadInput` where the server gives none. Its timeout grows with `most` and with the prompts asked `at_once`.
    """
    seconds = SECONDS_TO_ANSWER * at_once * -(-most // MAX_TOKENS)
    body: dict[str, Any] = {"model": model, "prompt": prompt, "max_tokens": most, "temperature": 0}
    status, answer = _post(url, {**body, "return_token_ids": True}, seconds)
    if status in (400, 422) and "return_token_ids" in json.dumps(answer):  # NIM 1.x takes no key that it does not know
        status, answer = _post(url, body, seconds)
    if status != 200:
        raise BadInput(f"{model}: the server answered {status} to a completion: {json.dumps(answer)[:300]}")
    choice = answer["choices"][0]
    read = (answer.get("usage") or {}).get("prompt_tokens")
    return Answer(choice["text"].strip(), choice.get("token_ids"), choice["finish_reason"], read)


def complete_all(url: str, model: str, prompts: Sequence[str | list[int]], most: int, at_once: int) -> Iterator[Answer]:
    """Yield the greedy completion of each prompt, in their order; `at_once` prompts are asked together."""
    if at_once == 1:
        yield from (complete(url, model, prompt, most) for prompt in prompts)
        return
    pool = ThreadPoolExecutor(at_once)
    try:
        yield from pool.map(lambda prompt: complete(url, model, prompt, most, at_once), prompts)
    finally:
        # A caller that is interrupted ends the server first; requests that still run then fail by themselves.
        pool.shutdown(wait=False, cancel_futures=True)


def _post(url: str, body: dict[str, Any], seconds: float) -> tuple[int, Any]:
    headers = {"content-type": "application/json"}
    return _ask(urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers), seconds)


def _ask(request: urllib.request.Request, seconds: float) -> tuple[int, Any]:
    for name, value in authorization().items():
        request.add_unredirected_header(name, value)  # to nobody that the server may point to
    try:
        with _opener.open(request, timeout=seconds) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        body = error.read().decode(errors="replace")
        return error.code, body
    except (OSError, ValueError, HTTPException) as error:
        raise BadInput(f"{request.full_url}: no answer ({error})") from None
