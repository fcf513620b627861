"""The embedded engine on a model store that changes: what is staged, changed or removed there is so on the server."""

import contextlib
import ipaddress
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import embedded_engine
from adapter_store import AdapterStore, Change
from child_group import ended_by_signals
from engine_server import Server
from faults import BadInput
from serve_key import KEY, api_key

LOOKS = 2  # in an interval: what is the same in two of them is served


class Refreshed:
    """A server at `url` that serves `adapters` of a store, by name; each change of them is a line to `say`."""

    def __init__(self, server: Server, store: AdapterStore, interval: float, say: Callable[[str], Any]) -> None:
        self.url = server.url
        self.adapters: set[str] = set()
        self._server, self._store, self._interval, self._say = server, store, interval, say

    def apply(self, changes: Iterable[Change], started: bool = True) -> None:
        """Serve what changes say; `started` False: what is served from the start needs no line."""
        for name, copy, refused in changes:
            if not refused:
                refused = self._server.serve(name, copy) or ""
                if refused and copy:
                    shutil.rmtree(copy)
            if refused:
                self._say(refusal(name, refused))
            elif copy:
                if started:
                    self._say(f"{name}: {'replaced' if name in self.adapters else 'served'}")
                self.adapters.add(name)
            elif name in self.adapters:
                self._say(f"{name}: no longer served")
                self.adapters.remove(name)

    def wait(self) -> None:
        """Follow the store until a signal. A server that ends by itself raises `BadInput`."""
        while True:
            self._server.wait(self._interval / LOOKS)
            self.apply(self._store.look())


@contextlib.contextmanager
def serving(
    base: str,
    model: str,
    files: Sequence[Path],
    loras: Path,
    *,
    host: str,
    max_rank: int,
    interval: float,
    say: Callable[[str], Any],
    **how: Any,
) -> Iterator[Refreshed]:
    """Serve base `base`, whose true name is `model`, and every sound adapter of the store `loras`.

    `interval` is how many seconds a change may take to be seen; `how` is as for `embedded_engine.serving`. Raises
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
        with embedded_engine.serving(base, files, {}, host=host, max_rank=max_rank, **how) as server:
            refreshed = Refreshed(server, store, interval, say)
            refreshed.apply(sound, started=False)
            yield refreshed


def refusal(name: str, reason: str) -> str:
    """Return the one line that says why an adapter is not served, whatever its name and files hold."""
    line = " ".join(f"{name}: refused: {reason}".split())
    return "".join(character if character.isprintable() else "?" for character in line)
