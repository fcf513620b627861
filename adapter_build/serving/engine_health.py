"""The engine's health, as ASGI middleware around vLLM's application.

An engine is well while its canaries (canary.py) answer as before and no answer held a NaN. Where it is not, or its
process has ended, `ready` says so, nobody gets an answer any more, those who wait get 503, and the server ends soon
after: whoever started it starts it again.
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
SECONDS_BETWEEN_CANARIES = 60.0  # of a server that answers; one that nobody asks is left alone
SECONDS_AFTER_SUSPICION = 5.0  # an answer may be empty for good reason, again and again
SECONDS_FOR_CANARY = 600.0  # in which no other answer came either
SECONDS_TO_TELL = 2.0  # what is wrong, before no more connections are taken
SECONDS_TO_END = 0.5  # after that: for those that were
ADAPTERS = 2  # canaries of adapters at once
RETRY = (b"retry-after", b"10")
EMPTY = (b'"text":""', b'"content":""', b'"content":null')
STARTING = "the engine is starting"
ENDED = "the engine's process ended"
FAILED = "the engine cannot answer this request: its log says why"
WRONG = 70  # the exit code
REASON = Path("reason")  # in the working directory: read by whoever started the server


class EngineHealth:
    """Passes requests on while the engine is well."""

    def __init__(self, app: App) -> None:
        self.app = app
        # Somebody starts it again, and says when its adapters are there.
        self.watched = bool(json.loads(os.environ.get(BOUNDS, "{}")).get("watched"))
        self.reason = STARTING if self.watched else None
        self.engine: Any = None
        self._state: Any = None  # the application's, which has uvicorn's server
        self._fallen = False
        self._expected: dict[int, canary.Answer] = {}  # by the adapter's number; 0 is the base
        self._running: set[asyncio.Task[Any]] = set()
        self._asked: set[str] = set()  # models that were asked since their canaries were
        self._answered = 0
        self._suspicious = False
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request. As the server starts, begin to look after the engine."""
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
            await self._ask(scope, receive, _Told(send, self))
        else:
            await self.app(scope, receive, _Told(send, self).send)

    async def _ask(self, scope: Message, receive: Receive, told: "_Told") -> None:
        task = asyncio.current_task()
        assert task
        self._running.add(task)
        try:
            await self.app(scope, receive, told.send)
        except asyncio.CancelledError:
            if not self._fallen:
                raise
            await told.break_off()
        except Exception as fault:  # whatever vLLM stumbles over: this request's matter, or the engine's
            print(f"a request failed: {fault!r}", file=sys.stderr, flush=True)
            await told.break_off()
        finally:
            self._running.discard(task)
            self._answered += 1
            self._asked.add(scope.get("model", ""))
            self._suspicious |= told.empty

    async def taken(self, number: int, adapter: Any) -> str | None:
        """Ask an adapter that came its canary, and the base its own after it; return what is wrong, and end then."""
        if 0 not in self._expected:
            self._expected[0] = await canary.first_answer(self.engine)
        self._expected[number] = found = await canary.first_answer(self.engine, adapter)
        wrong = None if found.sound else canary.NO_NUMBER
        if not wrong and (wrong := await self._wrong(0, None)):
            wrong = f"{wrong} for the base, once the adapter was asked"
        if wrong:
            self._expected.pop(number)
            self.fall(f"adapter {adapter.lora_name}: {wrong}")
        return wrong

    def forget(self, number: int) -> None:
        """Ask an adapter no more that goes."""
        self._expected.pop(number, None)

    async def ready(self) -> None:
        """Answer from now on: the adapters are there."""
        if self.watched and 0 not in self._expected:
            self._expected[0] = await canary.first_answer(self.engine)
        if not self._fallen:
            self.reason = None

    def fall(self, reason: str) -> None:
        """Say from now on that the engine is not well, break off what runs, and end the server soon."""
        if self._fallen:
            return
        self._fallen, self.reason = True, reason
        REASON.write_text(reason, encoding="utf-8")
        print(f"not ready: {reason}", file=sys.stderr, flush=True)
        for task in self._running:
            task.cancel()
        loop = asyncio.get_running_loop()
        loop.call_later(SECONDS_TO_TELL, self._take_no_more)
        loop.call_later(SECONDS_TO_TELL + SECONDS_TO_END, os._exit, WRONG)

    def _take_no_more(self) -> None:
        """Leave connections that come from now on to whoever holds the socket, too."""
        for server in self._state.server.servers:
            server.close()

    async def _look(self, models: Any) -> None:
        last = time.monotonic()
        while not self._fallen:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            since = time.monotonic() - last
            if self.engine.errored:
                self.fall(ENDED)
            elif _corrupted(self.engine):
                self.fall("an answer held NaN")
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
                self.fall(f"adapter {adapter.lora_name}: {wrong}" if adapter else wrong)

    async def _wrong(self, number: int, adapter: Any) -> str | None:
        expected = self._expected.get(number)
        if expected is None:
            return None
        return canary.difference(expected, await canary.ask(self.engine, expected.prompt, adapter))


class _Told:
    """An answer as far as its client was told. A 5xx of vLLM's never reaches it."""

    def __init__(self, send: Send, health: EngineHealth) -> None:
        self.empty = False
        self._send, self._health = send, health
        self._started = self._ended = self._stream = self._failed = False

    async def send(self, message: Message) -> None:
        """Send on, but for a failure: that is told in words of our own."""
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
        """Tell a client that it gets no answer, or no more of it."""
        if self._ended:
            return
        self._ended = True
        if not self._started:
            await self._fail()
        elif self._stream:
            told = json.dumps(error_body(self._health.reason or FAILED, 503, UNAVAILABLE))
            await self._send({"type": "http.response.body", "body": f"data: {told}\n\n".encode()})
        # Else the length of the answer was told: the connection breaks.

    async def _fail(self) -> None:
        if self._health.watched and self._health.engine.errored:
            self._health.fall(ENDED)
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
