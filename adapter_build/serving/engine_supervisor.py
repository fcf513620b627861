"""Supervisor of the embedded engine: adapters follow the model store, and an engine that ends is started again.

An adapter that is staged, changed or removed in the store is so on the server. A new engine has the address and the
adapters of the former one.
"""

import contextlib
import ipaddress
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.ports import listening
from adapter_build.core.printable import printable
from adapter_build.core.processes import ended_by_signals
from adapter_build.serving import embedded_engine
from adapter_build.serving.adapter_store import AdapterStore, Change
from adapter_build.serving.api_key import KEY, api_key
from adapter_build.serving.embedded_engine import EngineEnded, Server
from adapter_build.serving.engine_health import STARTING
from adapter_build.serving.unready_server import UnreadyServer

LOOKS = 2  # at the store in an interval: an adapter that is the same in two of them is served
ENDINGS = 2  # of engines while they loaded an adapter, after which it is refused
AGAIN = "the engine ended and is started again"
STEADY = 120.0  # seconds of serving, after which an end counts as a first one
LIMIT = 5  # ends in a row of engines that served for less
FIRST_PAUSE = 1.0
LAST_PAUSE = 30.0


class Backoff:
    """Back-off before an engine is started again: its ends in a row are counted. `now` is a clock in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._count = 0
        self._began: float | None = None

    def serving(self) -> None:
        """Note that an engine serves from now on."""
        self._began = self._now()

    def pause(self) -> float | None:
        """Note that an engine ended; return the seconds before the next one is started, or None to give up."""
        if self._began is not None and self._now() - self._began >= STEADY:
            self._count = 0
        self._began = None
        self._count += 1
        return None if self._count > LIMIT else min(LAST_PAUSE, FIRST_PAUSE * 2 ** (self._count - 1))


class Supervisor:
    """Supervised server at `url` of the `adapters` of a store, by name; each change of them is a line to `say`.

    `begin` starts an engine at `listener`; its argument is the reason that clients are told until the engine serves. An
    engine that ends by itself is followed by another, with the same adapters.
    """

    def __init__(
        self,
        begin: Callable[[str], AbstractContextManager[Server]],
        listener: socket.socket,
        store: AdapterStore,
        interval: float,
        say: Callable[[str], Any],
    ) -> None:
        self.url = ""
        self.adapters: set[str] = set()
        self._copies: dict[str, Path] = {}  # of the adapters that are served, or are about to be
        self._ended: Counter[str] = Counter()  # engines, while they loaded an adapter
        self._begin, self._listener, self._store, self._interval, self._say = begin, listener, store, interval, say
        self._engine, self._backoff = contextlib.ExitStack(), Backoff()
        self._server: Server | None = None

    def start(self, changes: Iterable[Change]) -> None:
        """Start the first engine on the adapters of the first look."""
        self._copies = {change.name: change.copy for change in changes if change.copy}
        try:
            self._start(STARTING)
        except EngineEnded as fault:
            self._restart(fault)

    def close(self) -> None:
        """End the engine."""
        self._engine.close()

    def apply(self, changes: Iterable[Change]) -> None:
        """Make changes on the server. Raises `EngineEnded`; changes made by then hold for the next engine."""
        for name, copy, refused in changes:
            if refused:
                self._say(refusal(name, refused))
            elif copy:
                known = name in self.adapters
                if self._offer(name, copy):
                    self._say(f"{name}: {'replaced' if known else 'served'}")
            elif name in self.adapters:
                self.adapters.remove(name)
                del self._copies[name]
                self._running.serve(name, None)
                self._say(f"{name}: no longer served")

    def wait(self) -> None:
        """Follow the store until a signal. An engine that ends too often by itself raises `BadInput`."""
        while True:
            try:
                self._running.wait(self._interval / LOOKS)
                self.apply(self._store.look())
            except EngineEnded as fault:
                self._restart(fault)

    @property
    def _running(self) -> Server:
        assert self._server
        return self._server

    def _start(self, reason: str) -> None:
        self._server = self._engine.enter_context(self._begin(reason))
        self.url = self._server.url
        for name, copy in sorted(self._copies.items()):
            self._offer(name, copy)
        self._server.open()
        self._backoff.serving()

    def _offer(self, name: str, copy: Path) -> bool:
        """Load an adapter unless the engine refuses it or has ended while loading it. Raises `EngineEnded`."""
        former = self._copies.get(name)
        self._copies[name] = copy
        if self._ended[copy.name] >= ENDINGS:
            refused = "the engine ended each time that it took it: stage it again"
        else:
            try:
                refused = self._running.serve(name, copy) or ""
            except EngineEnded:
                self._ended[copy.name] += 1
                raise
        if refused:
            self._say(refusal(name, refused))
            shutil.rmtree(copy, ignore_errors=True)
            del self._copies[name]
            if former and former != copy and name in self.adapters:
                self._copies[name] = former
            else:
                self.adapters.discard(name)
            return False
        self.adapters.add(name)
        return True

    def _restart(self, fault: BadInput) -> None:
        """Start engines one after the other until one serves. Raises `BadInput` after LIMIT ends in a row."""
        while True:
            with UnreadyServer(self._listener, AGAIN):
                self._engine.close()
                pause = self._backoff.pause()
                if pause is None:
                    raise BadInput(f"{fault}; it ended {LIMIT + 1} times in a row: see its log") from None
                self._say(f"{fault}; it is started again in {pause:g} s")
                time.sleep(pause)
            try:
                self._start(AGAIN)
            except BadInput as another:
                fault = another
            else:
                self._say(f"serving again: {', '.join(sorted(self.adapters)) or 'the base alone'}")
                return


@contextlib.contextmanager
def serving(
    base: str,
    model: str,
    files: Sequence[Path],
    loras: Path,
    *,
    port: int,
    host: str,
    max_rank: int,
    interval: float,
    say: Callable[[str], Any],
    **how: Any,
) -> Generator[Supervisor]:
    """Serve base `base`, whose true name is `model`, and every sound adapter of the store `loras`.

    A change of the store is served within `interval` seconds; `how` is as for `embedded_engine.serving`. Raises
    `BadInput` where no adapter is sound, or where other machines would reach a server without a key.
    """
    if not ipaddress.ip_address(host).is_loopback and not api_key():
        raise BadInput(
            f"deploy.embedded.host {host}: other machines reach it, so clients must show a key: export {KEY}, "
            "or serve on 127.0.0.1"
        )
    config = next(path for path in files if path.name == "config.json")
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix="adapters-", ignore_cleanup_errors=True) as copies:
        weights = [path for path in files if path.suffix == ".safetensors"]
        store = AdapterStore(loras, Path(copies).resolve(), base, model, config, max_rank, weights)
        found = list(store.look(settled=False))
        for change in found:
            if change.refused:
                say(refusal(change.name, change.refused))
        sound = [change for change in found if not change.refused]
        if not sound:
            raise BadInput(f"{loras}: no {'sound' if found else 'staged'} adapter there: run `make` first")
        with contextlib.closing(listening(port, host)) as listener:
            begin = partial(
                embedded_engine.serving, base, files, {}, port=port, host=host, max_rank=max_rank, listener=listener,
                **how,
            )  # fmt: skip
            with contextlib.closing(
                Supervisor(lambda reason: begin(reason=reason), listener, store, interval, say)
            ) as refreshed:
                refreshed.start(sound)
                if not refreshed.adapters:
                    raise BadInput(f"{loras}: no adapter there that the engine takes: run `make` first")
                yield refreshed


def refusal(name: str, reason: str) -> str:
    """Return the refusal of an adapter as one printable line, whatever its name and files hold."""
    return printable(" ".join(f"{name}: refused: {reason}".split()))
