"""NIM as an engine: its container started by digest as in the tutorial, awaited, and always stopped and removed.

The key reaches the container as a variable through the engine's API: the key is in no command line, and is masked in
the log. A container whose owner was killed is removed before the next one starts (hermetic/docker.py).
"""

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.ports import HOST, free_port
from adapter_build.core.processes import ended_by_signals
from adapter_build.core.progress import Progress
from adapter_build.core.secret import secret
from adapter_build.hermetic.docker import labels, lines, reap
from adapter_build.hermetic.docker_engine import engine, require
from adapter_build.hermetic.engine_kind import engine_kind
from adapter_build.hermetic.images import Image
from adapter_build.hermetic.liveness_lock import hold
from adapter_build.nim.container import check_layout, configuration, end, prepare_cache, reader_of, remove
from adapter_build.nim.known_failures import SETUP, refused_pull, refused_start, told_by
from adapter_build.nim.settings import KEY, PORT, NimSettings, variables
from adapter_build.serving.inference_client import get

REGISTRY = "nvcr.io/"  # the only one that the key is sent to
SECONDS_TO_TELL = 5  # timeout of a question if NIM is ready
SECONDS_TO_SAY_WHY = 1  # after a fault, for the end of the log and the container's exit code
LOG_LINES = 20
LOG_SHOWN = 60  # characters of its last line, beside the seconds waited


@dataclass(frozen=True)
class Server:
    """Handle to a NIM that is ready at `url`; `version` is by its own metadata, else its image's tag."""

    url: str
    version: str
    client: Any
    identity: str

    def wait(self) -> None:
        """Block until a signal. Raises `BadInput` where the container ends by itself."""
        while not end(self.client, self.identity):
            time.sleep(1)
        raise BadInput("NIM no longer serves")


@contextlib.contextmanager
def serving(
    base: str,
    adapters: Mapping[str, Path],
    settings: NimSettings,
    *,
    port: int,
    timeout: float,
    log: Path | None = None,
) -> Generator[Server]:
    """Serve `adapters` (name → folder, all in one model store) beside the image's base, under the name `base`.

    `port` 0 takes a free one. Raises `BadInput` with the fault that NIM's registry, the container engine or the log
    tells, and its mend; the log's last lines then stand on stderr. TERM and INT end the container and this process.
    """
    key = ngc_key()
    port = free_port(port)
    with ended_by_signals(), contextlib.ExitStack() as cleanup:
        scratch = Path(tempfile.mkdtemp(prefix="nim-")).resolve()
        cleanup.callback(shutil.rmtree, scratch, ignore_errors=True)
        lock = cleanup.enter_context(open(scratch / "lock", "w"))
        cleanup.enter_context(hold(lock))
        client = cleanup.enter_context(engine(without="deploy.engine: embedded"))
        kind = engine_kind(client)
        reader = reader_of(kind)
        for folder in adapters.values():
            check_layout(settings.version, folder, reader)
        cache = prepare_cache(Path(settings.cache), reader)
        reap(client)
        repository, _, digest = settings.image.partition("@")
        login = {"username": "$oauthtoken", "password": key} if repository.startswith(REGISTRY) else None
        image = require(client, Image("nim", repository, digest), login, refused_pull)
        store = next(iter(adapters.values())).resolve().parent
        told = variables(settings, base, len(adapters), port if settings.network == "host" else PORT, key)
        wanted = configuration(client, image, settings, store, cache, port, told, labels(scratch / "lock"), kind)
        # From here on the container is removed in any case.
        identity = client.create_container_from_config(wanted)["Id"]
        cleanup.callback(remove, client, identity)
        shown = log or scratch / "nim.log"
        try:
            _start(client, identity, settings, shown, key)
            _wait_until_ready(client, identity, port, timeout, shown)
            yield Server(f"http://{HOST}:{port}", _version(port, settings), client, identity)
        except BadInput as fault:
            time.sleep(SECONDS_TO_SAY_WHY)
            said = _read(shown)
            print("\n".join(said[-LOG_LINES:]), file=sys.stderr)
            raise BadInput(": ".join(filter(None, [str(fault), end(client, identity), told_by(said)]))) from None


def ngc_key() -> str:
    """Return the NGC API key. Raises `BadInput` where there is none."""
    key = secret(KEY)
    if not key:
        raise BadInput(f"NIM needs {KEY} to start: export it ({SETUP})")
    return key


def preflight(settings: NimSettings) -> None:
    """Raise `BadInput` for faults of this machine that will keep NIM from starting, before a step is run."""
    ngc_key()
    with engine(without="deploy.engine: embedded") as client:
        kind = engine_kind(client)
    prepare_cache(Path(settings.cache), reader_of(kind))
    if kind.rootless and settings.network == "host":
        raise BadInput(
            "deploy.nim.network: host: the network of a rootless engine's containers is not the machine's: set mapped"
        )


def _start(client: Any, identity: str, settings: NimSettings, log: Path, key: str) -> None:
    from docker.errors import APIError

    log.write_bytes(b"")  # drops the log of an earlier server
    try:
        client.start(identity)
    except APIError as error:
        reason = " ".join(str(error.explanation or error).split())
        raise BadInput(f"NIM does not start on {settings.gpus} GPUs: {reason}: {refused_start(reason)}") from None
    # Following its log takes a connection of its own, and ends with the container.
    Thread(target=_follow, args=(client, identity, log, key), daemon=True).start()


def _follow(client: Any, identity: str, log: Path, key: str) -> None:
    with open(log, "ab", buffering=0) as shown, contextlib.suppress(Exception):  # the container, or the client, is gone
        for line in lines(client.logs(identity, stream=True, follow=True)):
            shown.write(line.replace(key.encode(), f"<{KEY}>".encode()))


def _wait_until_ready(client: Any, identity: str, port: int, timeout: float, log: Path) -> None:
    began = time.monotonic()
    with Progress("waiting for NIM", total=None, unit="s") as bar:
        while not _ready(port):
            waited = time.monotonic() - began
            if end(client, identity):
                raise BadInput("NIM did not become ready")
            if waited > timeout:
                raise BadInput(f"NIM was not ready after {timeout:g} s: raise deploy.timeout")
            time.sleep(0.5)
            bar.update(round(time.monotonic() - began) - round(waited), log=" ".join(_read(log)[-1:])[-LOG_SHOWN:])


def _ready(port: int) -> bool:
    try:
        return get(f"http://{HOST}:{port}", "/v1/health/ready", SECONDS_TO_TELL)[0] == 200
    except BadInput:
        return False


def _version(port: int, settings: NimSettings) -> str:
    said = get(f"http://{HOST}:{port}", "/v1/metadata")[1]
    return str((said.get("version") if isinstance(said, dict) else None) or settings.tag)


def _read(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()
