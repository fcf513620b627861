"""Embedded engine: vLLM on this machine's CPU behind NIM's paths, as a child in a process group of its own.

`with serving(...) as server:` starts the engine, waits until it is ready and always ends it. The engine writes to a
scratch folder alone and sends nothing to other machines.
"""

import contextlib
import json
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedRWPair
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.ports import EVERYWHERE, HOST, listening
from adapter_build.core.processes import end_group, ended_by_signals
from adapter_build.core.progress import Progress
from adapter_build.core.strict_json import read_object
from adapter_build.models.base_model import link_base_files
from adapter_build.serving.engine_adapters import CHANNEL
from adapter_build.serving.engine_command import (
    DEFAULT_BOUNDS,
    LISTENER,
    MAX_MODEL_LEN,
    command,
    context_length,
    environment,
)
from adapter_build.serving.engine_health import REASON, STARTING
from adapter_build.serving.inference_client import get
from adapter_build.serving.request_bounds import BOUNDS
from adapter_build.serving.unready_server import UnreadyServer

LOG_LINES = 20
SECONDS_TO_LOAD = 300  # an adapter, while it answers others
# An exception in vLLM's log, after the name of the process and, where it was logged, level, time and place.
CAUSE = re.compile(r"^(?:\(\w+ pid=\d+\) )?(?:ERROR \S+ \S+ \[\S+\] )?([\w.]+(?:Error|Exception): .+)$", re.MULTILINE)


class EngineEnded(BadInput):
    """Unexpected end of the engine; the message gives the reason."""


@dataclass(frozen=True)
class Server:
    """Handle to a running engine at `url`; `version` is the engine's, `channel` leads to its EngineAdapters."""

    url: str
    version: str
    process: subprocess.Popen[bytes]
    channel: BufferedRWPair
    folder: Path  # its working directory

    def serve(self, name: str, folder: Path | None) -> str | None:
        """Serve the adapter in `folder` under `name` from now on, or none for None; return the reason of a refusal.

        The folder is the engine's from here on: the engine deletes it when the adapter is served no more. Raises
        `EngineEnded` where the engine does not answer.
        """
        return self._tell(name, str(folder) if folder else None)

    def open(self) -> None:
        """Answer clients from now on: all adapters have been passed to `serve`. Raises `EngineEnded`."""
        self._tell(None, None)

    def _tell(self, name: str | None, folder: str | None) -> str | None:
        try:
            self.channel.write(json.dumps({"name": name, "folder": folder}).encode() + b"\n")
            self.channel.flush()
            return json.loads(self.channel.readline())["error"]
        except (OSError, ValueError):
            raise EngineEnded(self._reason() or "the embedded engine takes no adapters any more: see its log") from None

    def wait(self, seconds: float | None = None) -> None:
        """Wait `seconds`, or for ever, until a signal. Raises `EngineEnded` where the engine ends by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(seconds)
            how = f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit code {code}"
            raise EngineEnded(self._reason() or f"the embedded engine {how}")

    def _reason(self) -> str:
        """Return the reason for which the engine ended itself, if it did."""
        try:
            return f"the embedded engine: {(self.folder / REASON).read_text(encoding='utf-8')}"
        except OSError:
            return ""


@contextlib.contextmanager
def serving(
    base: str,
    files: Sequence[Path],
    adapters: Mapping[str, Path],
    *,
    port: int,
    threads: int,
    timeout: float,
    log: Path | None = None,
    python: str | Path = sys.executable,
    host: str = HOST,
    max_rank: int | None = None,
    context: int = MAX_MODEL_LEN,
    bounds: Mapping[str, Any] | None = None,
    listener: socket.socket | None = None,
    reason: str = STARTING,
) -> Generator[Server]:
    """Serve base model `base` (its HF `files`) and `adapters` (name → staged folder).

    With `max_rank` there is room for others, up to that rank, which `Server.serve` takes. `context` bounds the tokens
    of prompt and answer, `bounds` clients (engine_command.DEFAULT_BOUNDS). `port` 0 takes a free one of the address
    `host`; `python` has vLLM. Raises `BadInput` if the port is taken, or the engine ends early or is not ready within
    `timeout` seconds; the last lines of its log then stand on stderr. TERM and INT end the engine and this process.

    With a `listener`, a socket that listens already, the engine is one of several, one after another: its output is
    appended to `log`. Clients are answered 503 with the `reason` until `Server.open`.
    """
    with ended_by_signals(), contextlib.ExitStack() as cleanup:
        scratch = Path(tempfile.mkdtemp(prefix="engine-")).resolve()
        cleanup.callback(shutil.rmtree, scratch, ignore_errors=True)
        ours = listener or cleanup.enter_context(contextlib.closing(listening(port, host)))
        port = ours.getsockname()[1]
        url = f"http://{HOST if host == EVERYWHERE else host}:{port}"
        lines = cleanup.enter_context(open(log or scratch / "engine.log", "w+b" if reason == STARTING else "a+b"))
        begin = lines.seek(0, 2)
        channel_end, theirs = map(cleanup.enter_context, socket.socketpair())
        channel_end.settimeout(SECONDS_TO_LOAD)
        folder = link_base_files(files, scratch / "base")
        length = context_length(read_object(folder / "config.json", "run: make"), context)
        told = {"context": length, "watched": listener is not None, **(bounds or DEFAULT_BOUNDS)}
        process = subprocess.Popen(
            command(base, folder, adapters, host, port, python, max_rank, context),
            cwd=scratch,
            env={
                **environment(scratch, threads),
                BOUNDS: json.dumps(told),
                CHANNEL: str(theirs.fileno()),
                LISTENER: str(ours.fileno()),
                # Where a supervisor starts the engine again, engine_health.py ends the server and tells why.
                "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH": str(int(listener is not None)),
            },
            pass_fds=[theirs.fileno(), ours.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        cleanup.callback(end_group, process)
        theirs.close()
        channel = cleanup.enter_context(channel_end.makefile("rwb"))
        try:
            with UnreadyServer(ours, reason) if listener else contextlib.nullcontext():
                _wait_until_it_listens(process, channel_end, timeout, Path(lines.name), begin)
            channel.readline()
            if not listener:
                ours.close()  # clients that come after the engine has ended are not to wait for another one
            yield Server(url, get(url, "/v1/metadata")[1]["version"], process, channel, scratch)
        except BadInput:
            print(_tail(Path(lines.name)), file=sys.stderr)
            raise


def _wait_until_it_listens(
    process: subprocess.Popen[bytes], channel: socket.socket, timeout: float, log: Path, begin: int
) -> None:
    began = time.monotonic()
    with Progress("waiting for the engine", total=None, unit="s") as bar:
        while not _readable(channel, 0.2):
            waited = time.monotonic() - began
            if process.poll() is not None:
                cause = _cause(log, begin)
                raise BadInput(f"the embedded engine ended with exit code {process.returncode}: {cause}: see its log")
            if waited > timeout:
                raise BadInput(f"the embedded engine was not ready after {timeout:g} s: raise deploy.timeout")
            bar.update(round(time.monotonic() - began) - round(waited))


def _readable(channel: socket.socket, seconds: float) -> bool:
    """Tell if the channel has bytes to read within `seconds`. An end of file is none: the engine ends."""
    if not select.select([channel], [], [], seconds)[0]:
        return False
    if channel.recv(1, socket.MSG_PEEK):
        return True
    time.sleep(seconds)
    return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])


def _cause(log: Path, begin: int) -> str:
    """Return the first exception in the log from byte `begin` on: the cause of those after it."""
    found = CAUSE.search(log.read_bytes()[begin:].decode(errors="replace"))
    return found[1] if found else "the end of its log says why"
