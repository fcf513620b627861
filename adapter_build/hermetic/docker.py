"""Runtime `docker`: the step runs in its environment's image, by digest, and sees nothing that it did not declare."""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.processes import ended_by_signals
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.docker_engine import engine, require
from adapter_build.hermetic.engine_kind import USUAL, EngineKind, engine_kind
from adapter_build.hermetic.environments import FOREIGN
from adapter_build.hermetic.execution import SECONDS_TO_END, Execution, Limits, Ran
from adapter_build.hermetic.images import image_of
from adapter_build.hermetic.liveness_lock import abandoned
from adapter_build.hermetic.sandbox import HOME, WORK, check_readable, command, environment, mounts

PYTHON = "/opt/env/bin/python"
PATH = "/opt/env/bin:/usr/local/bin:/usr/bin:/bin"
LABEL = "hermetic-step"
HOME_MEGABYTES = 256
ISOLATION = "container: read-only root, no capabilities, no new privileges, own uid"


@contextlib.contextmanager
def running(action: Action, attempt: Attempt, limits: Limits) -> Iterator[Execution]:
    """Start the script in a container; stop and remove the container on leaving, and on TERM or INT."""
    if action.nodes > 1:
        raise BadInput(f"it wants {action.nodes} nodes, which runtime docker has not: set runtime: host or apptainer")
    image = image_of(action.environment)
    with ended_by_signals(), engine() as client:
        reap(client)
        kind = engine_kind(client)
        configuration = _configuration(client, action, attempt, limits, require(client, image), kind)
        identity = None
        try:
            identity = client.create_container_from_config(configuration)["Id"]
            output = client.attach(identity, stream=True)
            client.start(identity)
            executed = client.inspect_container(identity)["Image"]
            network = "the machine's network" if action.network else "no network"
            isolation = ", ".join(filter(None, [ISOLATION, network, kind.described]))
            ran = Ran("docker", isolation, image.reference, executed)
            yield Execution(lines(output), lambda: _code(client, identity, limits), ran)
        finally:
            if identity:
                client.stop(identity, timeout=SECONDS_TO_END)
                client.remove_container(identity, force=True)


def _configuration(
    client: Any, action: Action, attempt: Attempt, limits: Limits, image: str, kind: EngineKind = USUAL
) -> dict[str, Any]:
    """Return the container's configuration, as the engine's API takes it. Raises `BadInput` for what it cannot read."""
    from docker.types import DeviceRequest, Mount, Ulimit

    uid, gid, groups = os.getuid(), os.getgid(), sorted(os.getgroups())
    shown = mounts(action, attempt)
    check_readable(shown, kind.reader(uid, gid, groups))
    host = client.create_host_config(
        mounts=[
            Mount(str(mount.target), str(mount.source), type="bind", read_only=not mount.writable) for mount in shown
        ],
        # For the container's one user, whatever its number: Podman knows no owner of a tmpfs.
        tmpfs={str(HOME): f"size={HOME_MEGABYTES}m,mode=1777", "/tmp": "mode=1777"},
        read_only=True,
        cap_drop=["ALL"],
        security_opt=kind.security,
        userns_mode=kind.user_namespace,
        # The user's own, by which inputs may be readable.
        group_add=None if kind.rootless else [str(group) for group in groups if group != gid],
        network_mode="host" if action.network else "none",
        pids_limit=limits.processes,
        mem_limit=f"{limits.memory}m" if limits.memory else None,
        memswap_limit=f"{limits.memory}m" if limits.memory else None,
        shm_size=f"{limits.shared_memory}m" if limits.shared_memory else None,
        ulimits=[_ulimit(Ulimit, text) for text in limits.ulimits],
        device_requests=[DeviceRequest(device_ids=devices(action.devices), capabilities=[["gpu"]])]
        if action.devices
        else None,
        # A name for itself, which libraries of distributed training look up even for one process.
        extra_hosts=None if action.network else {LABEL: "127.0.0.1"},
        init=True,
        log_config={"Type": "none"},  # what a step prints goes to its log and nowhere else
    )
    return client.create_container_config(
        image=image,
        command=command(action, FOREIGN.get(action.environment, PYTHON)),
        entrypoint=[],
        user=kind.user(uid, gid),
        hostname=None if action.network else LABEL,
        working_dir=str(WORK),
        environment=container_variables(action, attempt),
        labels=labels(attempt.lock),
        host_config=host,
    )


def container_variables(action: Action, attempt: Attempt) -> dict[str, str]:
    """Return the variables that a container is given. A foreign image keeps its own PATH."""
    given = environment(action, attempt, PATH)
    return {name: value for name, value in given.items() if name != "PATH" or action.environment not in FOREIGN}


def labels(lock: Path) -> dict[str, str]:
    """Return the labels of a container whose owner holds `lock` for as long as it lives."""
    return {
        LABEL: str(lock),
        f"{LABEL}.host": socket.gethostname(),
        f"{LABEL}.job": os.environ.get("SLURM_JOB_ID", ""),
        f"{LABEL}.pid": str(os.getpid()),
    }


def _ulimit(kind: Any, text: str) -> Any:
    name, _, value = text.partition("=")
    return kind(name=name, soft=int(value), hard=int(value))


def devices(count: int) -> list[str]:
    """Return the ids of the GPUs: those that the scheduler gave to this process, else the first `count`."""
    given = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if given and len(given) < count:
        raise BadInput(f"this step asks for {count} GPUs, but CUDA_VISIBLE_DEVICES names {len(given)}")
    return given[:count] if given else [str(index) for index in range(count)]


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Return whole lines of what arrives in pieces."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest + b"\n"


def _code(client: Any, identity: str, limits: Limits) -> int:
    code = int(client.wait(identity)["StatusCode"])
    if code and client.inspect_container(identity)["State"]["OOMKilled"]:
        raise BadInput(f"it needs more than its {limits.memory} MB of memory: raise mem_mb in its rule's resources")
    return code


def reap(client: Any) -> None:
    """Remove the containers of runners on this host that were killed: those whose attempt's lock nobody holds.

    One whose checkout cannot be seen from here (a job's private /tmp) is somebody else's to judge.
    """
    from docker.errors import APIError

    ours = {"label": [LABEL, f"{LABEL}.host={socket.gethostname()}"]}
    for container in client.containers(all=True, filters=ours):
        lock = Path(container["Labels"][LABEL])
        if os.path.isdir(lock.parent) and abandoned(lock):  # noqa: PTH112 - False, too, where we may not look
            with contextlib.suppress(APIError):  # another runner was quicker
                client.remove_container(container["Id"], force=True)
