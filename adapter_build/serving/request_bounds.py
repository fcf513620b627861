"""Bounds of requests to the embedded engine, as the outermost ASGI middleware. vLLM gets no request that is refused.

A request may have the paths and fields of schemas/openapi.json and no other that vLLM opens. It shows the key, where
there is one, and names its model. Its body, its answer, and the tokens of all its prompts and answers together have a
greatest size. Chat, which puts a template around a prompt, is for the base alone.
"""

import hashlib
import hmac
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from adapter_build.serving import request_schema
from adapter_build.serving.api_key import KEY, api_key
from adapter_build.serving.http_answers import App, Message, Receive, Send, answer, error_body, inner_get

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
ASKED = (COMPLETIONS, CHAT)
DESCRIPTION = "/openapi.json"
PATHS = request_schema.paths()
OPEN = ("/v1/health/live", "/v1/health/ready")  # without a key: probes have none
MAX_BODY = 65536  # bytes: many times what the engine's context of 2048 tokens holds
MAX_TOKENS = 1024  # of one answer
MAX_ANSWERS = 8  # to one request: as many as the engine gives at once
MAX_PENDING = 128  # answers under way, of all clients
CONTEXTS = 4  # times the engine's length: the tokens of one request, prompts and answers
BYTES_OF_TOKEN = 3  # a text has fewer tokens than that, English many fewer
DEFAULT_CONTEXT = 2048
BOUNDS = "SERVE_BOUNDS"  # the variable that holds deploy.embedded's bounds, as JSON
DEFAULT_TOKENS = {COMPLETIONS: 16, CHAT: MAX_TOKENS}  # of an answer whose request gives none


class RequestBounds:
    """Middleware that refuses requests with 400, 401, 404, 413 or 503 and one line, and passes the others on."""

    def __init__(self, app: App) -> None:
        self.app = app
        key = api_key()
        self._key = _digest(f"Bearer {key}".encode()) if key else None
        self._context = json.loads(os.environ.get(BOUNDS, "{}")).get("context", DEFAULT_CONTEXT)
        self._pending = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or let the wrapped application do so. No answer is a 500."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def told(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._answer(scope, receive, told)
        except Exception as fault:  # else vLLM's outermost layer would show it
            print(f"a request failed: {fault!r}", file=sys.stderr, flush=True)
            if not begun:
                await _refuse(send, 400, "this request cannot be answered: the server's log says why")

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] not in PATHS:
            await _refuse(send, 404, f"no such path here: {', '.join(sorted(PATHS))}")
        elif self._key and scope["path"] not in OPEN and not self._shown(scope["headers"]):
            await _refuse(
                send, 401, f"send the server's {KEY}, as: Authorization: Bearer KEY", (b"www-authenticate", b"Bearer")
            )
        elif scope["path"] == DESCRIPTION and scope["method"] == "GET":
            await answer(send, 200, request_schema.description())
        elif scope["path"] == DESCRIPTION:
            await _refuse(send, 405, "GET it", (b"allow", b"GET"))
        elif scope["path"] not in ASKED or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif (body := await _body(scope["headers"], receive)) is None:
            await _refuse(send, 413, f"the body has more than {MAX_BODY} bytes")
        elif isinstance(asked := _object(body, scope), str):
            await _refuse(send, 400, asked)
        elif fault := _fault(asked, scope["path"], self._context):
            await _refuse(send, 400, fault)
        elif scope["path"] == CHAT and (refused := await _chat_refusal(self.app, scope, asked["model"])):
            await _refuse(send, *refused)
        elif self._pending + (count := answers(asked)) > MAX_PENDING:
            await _refuse(send, 503, f"{self._pending} answers wait already: ask again", (b"retry-after", b"5"))
        else:
            self._pending += count
            try:
                await self.app({**scope, "model": asked["model"]}, _replayed(body, receive), send)
            finally:
                self._pending -= count

    def _shown(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        # Digests of one length are compared, in a time that tells nothing of the key.
        shown = next((value for name, value in headers if name == b"authorization"), b"")
        return hmac.compare_digest(_digest(shown), self._key or b"")


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


async def _body(headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> bytes | None:
    """Return a request's body; None if it has more than MAX_BODY bytes, announced or in chunks."""
    if int(next((value for name, value in headers if name == b"content-length"), b"0")) > MAX_BODY:
        return None
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)  # a client that went away sends no more either
        if len(body) > MAX_BODY:
            return None
    return body


def _object(body: bytes, scope: Message) -> dict[str, Any] | str:
    """Return the JSON object of a body, or the body's fault."""
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if kind.split(b";")[0].strip().lower() != b"application/json":
        return "the body must be JSON, and say so: content-type: application/json"
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    return asked if isinstance(asked, dict) else "the body is not a JSON object"


def _fault(asked: dict[str, Any], path: str, context: int) -> str | None:
    """Return the fault of a request for answers, or None."""
    if not isinstance(asked.get("model"), str) or not asked["model"]:  # vLLM would let the base answer
        return "it names no model: give it `model`, one that /v1/models lists"
    if fault := request_schema.fault(asked, request_schema.schemas()[path]):
        return fault
    if asked.get("best_of") not in (None, asked.get("n") or 1):
        return "best_of: of answers none is chosen here: ask for `n`, and choose"
    if (count := answers(asked)) > MAX_ANSWERS:
        return f"it asks for {count} answers: at most {MAX_ANSWERS} are given at once"
    most = asked.get("max_completion_tokens") or asked.get("max_tokens")
    tokens = count * min(context, DEFAULT_TOKENS[path] if most is None else most)
    tokens += sum(min(context, read) for read in _prompt_tokens(asked))
    if tokens > CONTEXTS * context:
        return (
            f"it asks for about {tokens} tokens, prompts and answers together: at most {CONTEXTS * context} are read "
            "and written for one request: ask for fewer at once"
        )
    return None


async def _chat_refusal(app: App, scope: Message, model: str) -> tuple[int, str] | None:
    """Return status and reason of refusing chat with a model; None for a base that `app`, the server itself, lists.

    Adapters are tuned on the prompts that their jq programs make, as they stand. The chat route puts the base's
    template around a prompt, which an adapter never saw: its answers would look like the base's.
    """
    status, models = await inner_get(app, scope, "/v1/models")
    if status != 200:
        return 503, "the server does not list its models yet: ask again when /v1/health/ready is 200"
    parents = {listed["id"]: listed.get("parent") for listed in json.loads(models)["data"]}
    if model not in parents:
        return 404, f"no model {json.dumps(model)[:80]} here: /v1/models lists them"
    if parents[model]:
        return 400, (
            f"adapter {model} is tuned on plain prompts, and chat puts a template around them: ask {COMPLETIONS} with "
            "the prompt that the adapter's jq program makes (make ask does so)"
        )
    return None


def _prompts(asked: dict[str, Any]) -> list[Any]:
    """Return a request's prompts. A list of tokens is one prompt."""
    prompt = asked.get("prompt")
    return prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]


def answers(asked: dict[str, Any]) -> int:
    """Return the number of answers that a request asks for."""
    return len(_prompts(asked)) * (asked.get("n") or 1)


def _prompt_tokens(asked: dict[str, Any]) -> list[int]:
    """Estimate the tokens of each prompt: the count of those given, or a text's bytes by BYTES_OF_TOKEN."""
    if "messages" in asked:
        return [len(json.dumps(asked["messages"], ensure_ascii=False)) // BYTES_OF_TOKEN]
    return [
        len(prompt) if isinstance(prompt, list) else len(prompt.encode()) // BYTES_OF_TOKEN
        for prompt in _prompts(asked)
    ]


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body, already read, once more, and then the messages after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


async def _refuse(send: Send, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
    await answer(send, status, error_body(message, status), *headers)
