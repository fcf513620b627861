"""What a client may ask of the embedded engine, as ASGI middleware around everything else.

NIM's paths and no other that vLLM opens; with the key, where there is one; in a body, and for an answer, of bounded
size; of a model that it names; of the base alone, where a chat template is put around what is asked. A request that is
refused never reaches vLLM.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable

import chat_route
import nim_paths
from nim_paths import App, Message, Receive, Send, answer
from serve_key import KEY, api_key

ASKED = ("/v1/completions", chat_route.PATH)
PATHS = frozenset((*nim_paths.PATHS, "/v1/models", *ASKED))
OPEN = ("/v1/health/live", "/v1/health/ready")  # a probe has no key
MAX_BODY = 65536  # bytes: many times what the engine's context of 2048 tokens holds
MAX_TOKENS = 1024  # of one answer
MAX_ANSWERS = 8  # to one request: as many as the engine gives at once


class RequestBounds:
    """Answers what may not be asked with 401, 404, 413 or 400 and one line; passes everything else on."""

    def __init__(self, app: App) -> None:
        self.app = app
        key = api_key()
        self._key = _digest(f"Bearer {key}".encode()) if key else None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or let the wrapped application do so."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] not in PATHS:
            await _refuse(send, 404, f"no such path here: {', '.join(sorted(PATHS))}")
        elif self._key and scope["path"] not in OPEN and not self._shown(scope["headers"]):
            await _refuse(
                send, 401, f"send the server's {KEY}, as: Authorization: Bearer KEY", (b"www-authenticate", b"Bearer")
            )
        elif scope["path"] not in ASKED or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif (body := await _body(scope["headers"], receive)) is None:
            await _refuse(send, 413, f"the body has more than {MAX_BODY} bytes")
        elif fault := _fault(body):
            await _refuse(send, 400, fault)
        elif scope["path"] == chat_route.PATH and (refused := await chat_route.refused(self.app, scope, body)):
            await _refuse(send, *refused)
        else:
            await self.app(scope, _again(body, receive), send)

    def _shown(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        # Digests of one length are compared, in a time that tells nothing of the key.
        shown = next((value for name, value in headers if name == b"authorization"), b"")
        return hmac.compare_digest(_digest(shown), self._key or b"")


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


async def _body(headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> bytes | None:
    """Return a request's body; None if it is too long, whether it says so beforehand or comes in chunks."""
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


def _fault(body: bytes) -> str | None:
    """Return what is wrong with a request for answers; None if nothing is, as far as this middleware looks."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    if not isinstance(asked, dict):
        return "the body is not a JSON object"
    # vLLM would take "9999" and 9999.0 for numbers, too.
    for name, most in (
        ("max_tokens", MAX_TOKENS),
        ("max_completion_tokens", MAX_TOKENS),
        ("n", MAX_ANSWERS),
        ("best_of", MAX_ANSWERS),
    ):
        value = asked.get(name)
        if value is not None and (type(value) is not int or value > most):
            return f"{name} is {json.dumps(value)[:20]}: it must be a whole number of at most {most}"
    prompt = asked.get("prompt")
    # One prompt may be a list, too: of tokens.
    prompts = len(prompt) if isinstance(prompt, list) and not all(type(part) is int for part in prompt) else 1
    answers = prompts * max(asked.get("n") or 1, asked.get("best_of") or 1)
    if answers > MAX_ANSWERS:
        return f"it asks for {answers} answers: at most {MAX_ANSWERS} are given at once"
    if not isinstance(asked.get("model"), str) or not asked["model"]:  # vLLM would let the base answer
        return "it names no model: give it `model`, one that /v1/models lists"
    return None


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives the body, already read, once more, and after it what else comes."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


async def _refuse(send: Send, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": status}
    await answer(send, status, {"error": error}, *headers)
