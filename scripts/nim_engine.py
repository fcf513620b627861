"""The NIM container: started by digest as the tutorial starts it, waited for, and always stopped and removed again.

Its key reaches it as a variable through the engine's API: it is in no command line, and taken out of what is shown of
the container's log. A container whose owner was killed is removed by the next one (hermetic/docker.py).
"""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from child_group import ended_by_signals
from faults import BadInput
from free_port import HOST, free_port
from hermetic.docker import devices, labels, lines, reap
from hermetic.docker_engine import engine, require
from hermetic.images import Image
from inference_client import get
from nim_faults import refused_pull, refused_start, told_by
from nim_settings import NimSettings
from nim_versions import CACHE, KEY, PORT, STORE, VERSIONS, variables
from progress import Progress
from secret import secret

REGISTRY = "nvcr.io/"  # the only one that the key is sent to
USER = 1000  # NIM's own, in 1.x and 2.x
SHARED_MEMORY = "16g"
SECONDS_TO_END = 10
SECONDS_TO_TELL = 5  # whether it is ready
SECONDS_TO_SAY_WHY = 1  # after a fault: for the end of its log, and for its own end to be known
LOG_LINES = 20
LOG_SHOWN = 60  # characters of its last line, beside the seconds waited
LOG_LIMIT = {"Type": "json-file", "Config": {"max-size": "50m", "max-file": "1"}}


@dataclass(frozen=True)
class Server:
    """A NIM that is ready, at `url`; `version` is what it says of itself, else its image's tag."""

    url: str
    version: str
    client: Any
    identity: str

    def wait(self) -> None:
        """Return never: a signal ends the wait, and a container that ends by itself raises `BadInput`."""
        while not _end(self.client, self.identity):
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
) -> Iterator[Server]:
    """Serve `adapters` (name → folder, all in one model store) beside the image's base, under the name `base`.

    `port` 0 takes a free one. Raises `BadInput` with what NIM's registry, the engine or its log says and what mends
    it; the log's last lines then stand on stderr. TERM and INT end the container and this process.
    """
    key = secret(KEY)
    if not key:
        raise BadInput(
            f"{KEY} is not set, without which NIM does not start: export it (https://org.ngc.nvidia.com/setup)"
        )
    for folder in adapters.values():
        check_layout(settings.version, folder)
    port = free_port(port)
    cache = prepare_cache(Path(settings.cache))
    with ended_by_signals(), contextlib.ExitStack() as cleanup:
        scratch = Path(tempfile.mkdtemp(prefix="nim-")).resolve()
        cleanup.callback(shutil.rmtree, scratch, ignore_errors=True)
        lock = cleanup.enter_context(open(scratch / "lock", "w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = cleanup.enter_context(engine(without="deploy.engine: embedded"))
        reap(client)
        repository, _, digest = settings.image.partition("@")
        login = {"username": "$oauthtoken", "password": key} if repository.startswith(REGISTRY) else None
        image = require(client, Image("nim", repository, digest), login, refused_pull)
        store = next(iter(adapters.values())).resolve().parent
        told = variables(settings, base, len(adapters), port if settings.network == "host" else PORT, key)
        wanted = configuration(client, image, settings, store, cache, port, told, labels(scratch / "lock"))
        # From here on, whatever comes, the container goes.
        identity = client.create_container_from_config(wanted)["Id"]
        cleanup.callback(_remove, client, identity)
        shown = log or scratch / "nim.log"
        try:
            _start(client, identity, settings, shown, key)
            _wait_until_ready(client, identity, port, timeout, shown)
            yield Server(f"http://{HOST}:{port}", _version(port, settings), client, identity)
        except BadInput as fault:
            time.sleep(SECONDS_TO_SAY_WHY)
            said = _read(shown)
            print("\n".join(said[-LOG_LINES:]), file=sys.stderr)
            raise BadInput(": ".join(filter(None, [str(fault), _end(client, identity), told_by(said)]))) from None


def configuration(
    client: Any, image: str, settings: NimSettings, store: Path, cache: Path, port: int, told: dict[str, str],
    owner: dict[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Return the container's configuration, as the engine's API takes it: the tutorial's, with no more power."""
    from docker.types import DeviceRequest, Mount

    mapped = settings.network == "mapped"
    gpus = DeviceRequest(device_ids=devices(settings.gpus), capabilities=[["gpu"]]) if settings.gpus else None
    host = client.create_host_config(
        mounts=[
            Mount(STORE, str(store), type="bind", read_only=True),
            Mount(CACHE, str(cache), type="bind", read_only=False),
        ],
        shm_size=SHARED_MEMORY,
        device_requests=[gpus] if gpus else None,
        network_mode=None if mapped else "host",
        port_bindings={PORT: (HOST, port)} if mapped else None,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        init=True,
        log_config=LOG_LIMIT,
    )
    return client.create_container_config(
        image=image,
        command=None,
        user=f"{USER}:{USER}",
        environment=told,
        ports=[(PORT, "tcp")] if mapped else None,
        labels=owner,
        host_config=host,
    )


def prepare_cache(folder: Path) -> Path:
    """Return the cache's absolute path, made for uid 1000 if need be. Raises `BadInput` if that one may not write."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if made and os.getuid() == 0:
            os.chown(folder, USER, USER)
        found = folder.stat()
    except OSError as error:
        raise BadInput(f"deploy.nim.cache: {folder}: {error.strerror}: name a folder that can be made") from None
    for owned, bits in ((found.st_uid == USER, 0o300), (found.st_gid == USER, 0o030), (True, 0o003)):
        if owned:
            if found.st_mode & bits != bits:
                break
            return folder.resolve()
    raise BadInput(
        f"deploy.nim.cache: {folder} is not writable for uid {USER}, which NIM runs as: sudo chown -R {USER} {folder}"
    )


def check_layout(version: int, folder: Path) -> None:
    """Raise `BadInput` unless an adapter's folder holds what this NIM reads."""
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    names = {path.name for path in files} | {path.suffix for path in files}
    layouts = VERSIONS[version].layouts
    if not any(names.issuperset(layout) for layout in layouts):
        wanted = " or ".join(" and ".join(layout) for layout in layouts)
        raise BadInput(f"{folder}: NIM {version}.x wants {wanted} in an adapter's folder: stage it again (make)")


def _start(client: Any, identity: str, settings: NimSettings, log: Path, key: str) -> None:
    from docker.errors import APIError

    log.touch()
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
            if _end(client, identity):
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


def _end(client: Any, identity: str) -> str | None:
    """Return how a container that ran has ended; None if it runs, or never started."""
    state = client.inspect_container(identity)["State"]
    if state["Status"] in ("running", "created"):
        return None
    return f"it ended by itself with exit code {state['ExitCode']}{' for want of memory' if state['OOMKilled'] else ''}"


def _version(port: int, settings: NimSettings) -> str:
    said = get(f"http://{HOST}:{port}", "/v1/metadata")[1]
    return str((said.get("version") if isinstance(said, dict) else None) or settings.tag)


def _remove(client: Any, identity: str) -> None:
    from docker.errors import APIError

    with contextlib.suppress(APIError):  # one that never started
        client.stop(identity, timeout=SECONDS_TO_END)
    client.remove_container(identity, force=True)


def _read(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()
