"""HTTP answers of the embedded engine's middleware: whole JSON responses, errors in the form of OpenAI's API."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

INVALID, UNAVAILABLE = "invalid_request_error", "service_unavailable"  # types of an error


def error_body(message: str, status: int, kind: str = INVALID) -> dict[str, Any]:
    """Return the body of an error as clients of OpenAI's API read it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


async def answer(send: Send, status: int, body: dict[str, Any], *more: tuple[bytes, bytes]) -> None:
    """Send a whole response: a JSON body, with `more` headers."""
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def inner_get(app: App, scope: Message, path: str) -> tuple[int, bytes]:
    """Return status and body of an application's own answer to GET `path`, asked within another request."""
    status, body = 500, b""
    left: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return left.pop() if left else await asyncio.Future()  # this client stays until it is answered

    async def collect(message: Message) -> None:
        nonlocal status, body
        if message["type"] == "http.response.start":
            status = message["status"]
        body += message.get("body", b"")

    await app({**at_path(scope, path), "method": "GET"}, receive, collect)
    return status, body


def at_path(scope: Message, path: str) -> Message:
    """Return a request's scope with another path and no query."""
    return {**scope, "path": path, "raw_path": path.encode(), "query_string": b""}
