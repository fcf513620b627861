"""The container that NIM runs in: what it is given, its cache, its adapters' layout, how it ended, its removal."""

import contextlib
import os
from pathlib import Path
from typing import Any

from config_paths import expanded
from faults import BadInput
from free_port import HOST
from hermetic.docker import devices
from nim_settings import NimSettings
from nim_versions import CACHE, PORT, STORE, VERSIONS

USER = 1000  # NIM's own, in 1.x and 2.x
SHARED_MEMORY = "16g"
SCRATCH = "rw,exec,nosuid,nodev,mode=1777"  # kernels are compiled there and loaded
SECONDS_TO_END = 10
LOG_LIMIT = {"Type": "json-file", "Config": {"max-size": "50m", "max-file": "1"}}


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
        read_only=settings.read_only,
        tmpfs={"/tmp": SCRATCH} if settings.read_only else None,
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
    folder = Path(expanded("deploy.nim.cache", str(folder)))
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


def end(client: Any, identity: str) -> str | None:
    """Return how a container that ran has ended; None if it runs, or never started."""
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
