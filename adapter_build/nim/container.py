"""Container that NIM runs in: its configuration, its cache, its adapters' layout, its end and removal."""

import contextlib
import os
from pathlib import Path
from shlex import quote
from typing import Any

from adapter_build.core.config_paths import expanded
from adapter_build.core.faults import BadInput
from adapter_build.core.ports import HOST
from adapter_build.hermetic.access import READ, SEARCH, WRITE, Reader, mode_of
from adapter_build.hermetic.docker import devices
from adapter_build.hermetic.engine_kind import USUAL, EngineKind
from adapter_build.nim.settings import CACHE, PORT, STORE, VERSIONS, NimSettings

USER = 1000  # NIM's own, in 1.x and 2.x
NIM = Reader(USER, frozenset([USER]))
SHARED_MEMORY = "16g"
SCRATCH = "rw,exec,nosuid,nodev,mode=1777"  # kernels are compiled there and loaded
SECONDS_TO_END = 10
LOG_LIMIT = {"Type": "json-file", "Config": {"max-size": "50m", "max-file": "1"}}


def configuration(
    client: Any, image: str, settings: NimSettings, store: Path, cache: Path, port: int, told: dict[str, str],
    owner: dict[str, str], kind: EngineKind = USUAL,
) -> dict[str, Any]:  # fmt: skip
    """Return the container's configuration for the engine's API: the tutorial's, with fewer privileges."""
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
        read_only=settings.read_only,
        tmpfs={"/tmp": SCRATCH} if settings.read_only else None,
        cap_drop=["ALL"],
        security_opt=kind.security,
        userns_mode=kind.user_namespace,
        init=True,
        log_config=LOG_LIMIT,
    )
    return client.create_container_config(
        image=image,
        command=None,
        user=kind.user(USER, USER),
        environment=told,
        ports=[(PORT, "tcp")] if mapped else None,
        labels=owner,
        host_config=host,
    )


def reader_of(kind: EngineKind) -> Reader:
    """Return NIM's user outside of its container: uid 1000, or with a rootless engine this user."""
    return kind.reader(os.getuid(), os.getgid(), []) if kind.rootless else kind.reader(USER, USER, [])


def prepare_cache(folder: Path, reader: Reader = NIM) -> Path:
    """Return the cache's absolute path, made for NIM's user if need be. Raises `BadInput` if NIM may not use it."""
    folder = Path(expanded("deploy.nim.cache", str(folder)))
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if made and os.getuid() == 0:
            os.chown(folder, reader.uid, min(reader.groups))
    except OSError as error:
        raise BadInput(f"deploy.nim.cache: {folder}: {error.strerror}: name a folder that can be made") from None
    found, fault = folder, "writable"
    if reader.may(folder, READ | WRITE | SEARCH):
        found, fault = reader.barred([folder]), "readable"
    if found:
        raise BadInput(
            f"deploy.nim.cache: {found} is not {fault} for uid {reader.uid}, which NIM runs as ({mode_of(found)}): "
            f"sudo chown -R {reader.uid} {quote(str(folder))}"
        )
    return folder.resolve()


def check_layout(version: int, folder: Path, reader: Reader = NIM) -> None:
    """Raise `BadInput` unless an adapter's folder has the files that this NIM reads, and NIM's user may read them."""
    if barred := next((path for path in (folder.parent, folder) if not reader.may(path, READ | SEARCH)), None):
        raise BadInput(_unreadable(barred, folder, reader))
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    names = {path.name for path in files} | {path.suffix for path in files}
    layouts = VERSIONS[version].layouts
    if not any(names.issuperset(layout) for layout in layouts):
        wanted = " or ".join(" and ".join(layout) for layout in layouts)
        raise BadInput(f"{folder}: NIM {version}.x wants {wanted} in an adapter's folder: stage it again (make)")
    if barred := reader.barred([folder]):
        raise BadInput(_unreadable(barred, folder, reader))


def _unreadable(barred: Path, folder: Path, reader: Reader) -> str:
    told = f"{barred}: not readable for uid {reader.uid}, which NIM runs as ({mode_of(barred)})"
    mend = f"chmod a+rx {quote(str(barred))}" if barred == folder.parent else f"chmod -R a+rX {quote(str(folder))}"
    return f"{told}: {mend}"


def end(client: Any, identity: str) -> str | None:
    """Describe the end of a container that ran; None if it runs, or never started."""
    state = client.inspect_container(identity)["State"]
    if state["Status"] in ("running", "created"):
        return None
    return f"it ended by itself with exit code {state['ExitCode']}{' for want of memory' if state['OOMKilled'] else ''}"


def remove(client: Any, identity: str) -> None:
    """Stop and remove a container, whatever state it is in."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):  # one that never started
        client.stop(identity, timeout=SECONDS_TO_END)
    client.remove_container(identity, force=True)
