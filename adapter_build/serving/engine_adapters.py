"""Hot swap of adapters while the embedded engine serves, as ASGI middleware around vLLM's application.

The process that started the engine sends each change as a line of JSON through a socket that the engine inherited: no
client reaches that socket, and vLLM's own routes for this stay off. A changed adapter is loaded beside the former one,
under a number of its own, before its name is switched over in one move: every request finds an adapter under the name,
and a request that runs ends on the weights that it began with. The former adapter is unloaded and its folder deleted
when the last such request has ended. An adapter that answers NaN, or after which the base's answer changes, gets no
name (engine_health.py).
"""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Coroutine
from typing import Any

from adapter_build.serving.http_answers import App, Message, Receive, Send

CHANNEL = "SERVE_CHANNEL"  # the variable that holds the socket's number
LISTENING = b"listening\n"  # the first line that comes out of it


class EngineAdapters:
    """Middleware that passes every request on, keeps track of those that run, and makes the channel's changes."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._running: set[asyncio.Task[Any]] = set()
        self._background: set[asyncio.Task[Any]] = set()  # references: asyncio holds only weak ones to its tasks

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Begin to listen to the channel as the server starts; after that, let the application answer."""
        if scope["type"] == "lifespan":
            self._start(self._follow_channel(scope["app"].state))
        task = asyncio.current_task()
        assert task
        if scope["type"] == "http":
            self._running.add(task)
        try:
            await self.app(scope, receive, send)
        finally:
            self._running.discard(task)

    async def _follow_channel(self, state: Any) -> None:
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=int(os.environ[CHANNEL])))
        writer.write(LISTENING)
        while line := await reader.readline():
            try:
                error = await self._change(state.openai_serving_models, state.engine_health, **json.loads(line))
            except Exception as fault:  # any reason for which vLLM refuses an adapter: the server goes on without it
                error = f"{type(fault).__name__}: {fault}"
            writer.write(json.dumps({"error": error}).encode() + b"\n")
            await writer.drain()

    async def _change(self, models: Any, health: Any, name: str | None, folder: str | None) -> str | None:
        """Serve the adapter in `folder` under `name` from now on, or none; return the reason of a refusal.

        No name means that every adapter has been sent: clients are answered from now on.
        """
        from vllm.lora.request import LoRARequest

        if not name:
            await health.ready()
            return None
        former = models.lora_requests.get(name)
        if folder:
            number = models.lora_id_counter.inc(1)
            base = models.base_model_paths[0].name
            adapter = LoRARequest(lora_name=name, lora_int_id=number, lora_path=folder, base_model_name=base)
            await models.engine_client.add_lora(adapter)
            if health.watched and (wrong := await health.admit(number, adapter)):
                return wrong
            models.lora_requests[name] = adapter
        else:
            models.lora_requests.pop(name, None)
        if former:
            health.forget(former.lora_int_id)
            self._start(self._unload(models.engine_client, former, set(self._running)))
        return None

    async def _unload(self, engine: Any, adapter: Any, begun: set[asyncio.Task[Any]]) -> None:
        if begun:
            await asyncio.wait(begun)
        await engine.remove_lora(adapter.lora_int_id)
        shutil.rmtree(adapter.lora_path, ignore_errors=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
