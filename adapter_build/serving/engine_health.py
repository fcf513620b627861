"""Health of the engine, as ASGI middleware around vLLM's application.

An engine is healthy while its canaries (canary.py) answer as before and no answer held a NaN. Where it is not, or its
process has ended, `ready` says so, requests get 503, those that wait too, and the server ends soon after: its
supervisor starts it again.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapter_build.serving import canary
from adapter_build.serving.http_answers import UNAVAILABLE, App, Message, Receive, Send, answer, error_body
from adapter_build.serving.request_bounds import ASKED, BOUNDS

READY = "/v1/health/ready"
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_CANARIES = 60.0  # of a server that answers requests; an idle one is left alone
SECONDS_AFTER_SUSPICION = 5.0  # an answer may be empty for good reason, again and again
SECONDS_FOR_CANARY = 600.0  # in which no other answer came either
SECONDS_TO_TELL = 2.0  # in which connections are still accepted and told the fault
SECONDS_TO_END = 0.5  # after that, for the connections accepted before
ADAPTERS = 2  # canaries of adapters at once
RETRY = (b"retry-after", b"10")
EMPTY = (b'"text":""', b'"content":""', b'"content":null')
STARTING = "the engine is starting"
ENDED = "the engine's process ended"
FAILED = "the engine cannot answer this request: its log says why"
WRONG = 70  # exit code of an engine that ends itself
REASON = Path("reason")  # in the working directory: read by the process that started the server


class EngineHealth:
    """Middleware that passes requests on while the engine is healthy."""

    def __init__(self, app: App) -> None:
        self.app = app
        # A supervisor starts the engine again, and tells when its adapters are loaded.
        self.watched = bool(json.loads(os.environ.get(BOUNDS, "{}")).get("watched"))
        self.reason = STARTING if self.watched else None
        self.engine: Any = None
        self._state: Any = None  # the application's, which has uvicorn's server
        self._given_up = False
        self._expected: dict[int, canary.Answer] = {}  # by the adapter's number; 0 is the base
        self._running: set[asyncio.Task[Any]] = set()
        self._asked: set[str] = set()  # models that were asked since their canaries were
        self._answered = 0
        self._suspicious = False
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request. As the server starts, begin to watch the engine."""
        if scope["type"] == "lifespan":
            models = scope["app"].state.openai_serving_models
            scope["app"].state.engine_health, self.engine, self._state = self, models.engine_client, scope["app"].state
            self._looking = asyncio.create_task(self._look(models)) if self.watched else None
            await self.app(scope, receive, send)
        elif scope["type"] == "http" and self.reason and scope["path"] == READY:
            told = f"Service is not ready: {self.reason}."
            await answer(send, 503, {"object": "health.response", "message": told}, RETRY)
        elif scope["type"] == "http" and self.reason and scope["path"] in ASKED:
            await unavailable(send, self.reason)
        elif scope["type"] == "http" and scope["path"] in ASKED:
            await self._ask(scope, receive, _Answering(send, self))
        else:
            await self.app(scope, receive, _Answering(send, self).send)

    async def _ask(self, scope: Message, receive: Receive, answering: "_Answering") -> None:
        task = asyncio.current_task()
        assert task
        self._running.add(task)
        try:
            await self.app(scope, receive, answering.send)
        except asyncio.CancelledError:
            if not self._given_up:
                raise
            await answering.break_off()
        except Exception as fault:  # any fault of vLLM: of this request alone, or of the engine
            print(f"a request failed: {fault!r}", file=sys.stderr, flush=True)
            await answering.break_off()
        finally:
            self._running.discard(task)
            self._answered += 1
            self._asked.add(scope.get("model", ""))
            self._suspicious |= answering.empty

    async def admit(self, number: int, adapter: Any) -> str | None:
        """Ask a new adapter its canary, and the base its own after it; on a fault return it and end the engine."""
        if 0 not in self._expected:
            self._expected[0] = await canary.first_answer(self.engine)
        self._expected[number] = found = await canary.first_answer(self.engine, adapter)
        wrong = None if found.sound else canary.NO_NUMBER
        if not wrong and (wrong := await self._wrong(0, None)):
            wrong = f"{wrong} for the base, once the adapter was asked"
        if wrong:
            self._expected.pop(number)
            self.give_up(f"adapter {adapter.lora_name}: {wrong}")
        return wrong

    def forget(self, number: int) -> None:
        """Ask an adapter's canary no more: the adapter is being unloaded."""
        self._expected.pop(number, None)

    async def ready(self) -> None:
        """Answer requests from now on: the adapters are loaded."""
        if self.watched and 0 not in self._expected:
            self._expected[0] = await canary.first_answer(self.engine)
        if not self._given_up:
            self.reason = None

    def give_up(self, reason: str) -> None:
        """Report the engine as unhealthy from now on, break off running requests, and end the server soon."""
        if self._given_up:
            return
        self._given_up, self.reason = True, reason
        REASON.write_text(reason, encoding="utf-8")
        print(f"not ready: {reason}", file=sys.stderr, flush=True)
        for task in self._running:
            task.cancel()
        loop = asyncio.get_running_loop()
        loop.call_later(SECONDS_TO_TELL, self._take_no_more)
        loop.call_later(SECONDS_TO_TELL + SECONDS_TO_END, os._exit, WRONG)

    def _take_no_more(self) -> None:
        """Close the listening socket here: later connections are the supervisor's, which holds it too."""
        for server in self._state.server.servers:
            server.close()

    async def _look(self, models: Any) -> None:
        last = time.monotonic()
        while not self._given_up:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            since = time.monotonic() - last
            if self.engine.errored:
                self.give_up(ENDED)
            elif _corrupted(self.engine):
                self.give_up("an answer held NaN")
            elif (self._suspicious and since > SECONDS_AFTER_SUSPICION) or (
                self._answered and since > SECONDS_BETWEEN_CANARIES
            ):
                asked = [adapter for name, adapter in models.lora_requests.items() if name in self._asked]
                self._suspicious, self._answered = False, 0
                self._asked.clear()
                await self._check([(0, None), *((adapter.lora_int_id, adapter) for adapter in asked[:ADAPTERS])])
                last = time.monotonic()

    async def _check(self, models: Sequence[tuple[int, Any]]) -> None:
        for number, adapter in models:
            try:
                wrong = await asyncio.wait_for(self._wrong(number, adapter), SECONDS_FOR_CANARY)
            except TimeoutError:
                wrong = None if self._answered else f"the canary was not answered in {SECONDS_FOR_CANARY:g} s"
            except Exception as fault:  # the engine ends, or the adapter went
                wrong = ENDED if self.engine.errored else None
                print(f"the canary failed: {fault!r}", file=sys.stderr, flush=True)
            if wrong:
                self.give_up(f"adapter {adapter.lora_name}: {wrong}" if adapter else wrong)

    async def _wrong(self, number: int, adapter: Any) -> str | None:
        expected = self._expected.get(number)
        if expected is None:
            return None
        return canary.difference(expected, await canary.ask(self.engine, expected.prompt, adapter))


class _Answering:
    """Answer on its way to the client. A 5xx of vLLM's never reaches the client."""

    def __init__(self, send: Send, health: EngineHealth) -> None:
        self.empty = False
        self._send, self._health = send, health
        self._started = self._ended = self._stream = self._failed = False

    async def send(self, message: Message) -> None:
        """Send a message on; a failure is answered in words of our own."""
        if message["type"] == "http.response.start":
            self._failed = message["status"] >= 500
            self._stream = any(b"event-stream" in value for _, value in message["headers"])
            self._started = not self._failed
        else:
            self._ended = not message.get("more_body")
            body = message.get("body", b"")
            self.empty |= not self._stream and any(sign in body for sign in EMPTY)
        if not self._failed:
            await self._send(message)
        elif self._ended:
            await self._fail()

    async def break_off(self) -> None:
        """Tell the client that it gets no answer, or no more of it."""
        if self._ended:
            return
        self._ended = True
        if not self._started:
            await self._fail()
        elif self._stream:
            told = json.dumps(error_body(self._health.reason or FAILED, 503, UNAVAILABLE))
            await self._send({"type": "http.response.body", "body": f"data: {told}\n\n".encode()})
        # Else the client has read the answer's length: the connection breaks.

    async def _fail(self) -> None:
        if self._health.watched and self._health.engine.errored:
            self._health.give_up(ENDED)
        reason = self._health.reason or (ENDED if self._health.engine.errored else None)
        if reason:
            await unavailable(self._send, reason)
        else:
            await answer(self._send, 400, error_body(FAILED, 400))


async def unavailable(send: Send, reason: str) -> None:
    """Answer 503: ask again."""
    await answer(send, 503, error_body(f"{reason}: ask again", 503, UNAVAILABLE), RETRY)


def _corrupted(engine: Any) -> bool:
    """Tell if vLLM counted an answer whose logits held NaN."""
    counters = (getattr(logger, "counter_corrupted_requests", {}) for logger in engine.logger_manager.stat_loggers)
    return any(counter._value.get() for found in counters for counter in found.values())
