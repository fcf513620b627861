"""Runtime `docker`: a step in a container of its environment's image, by digest, with its declared files alone."""

import contextlib
import os
import socket
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.processes import ended_by_signals
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.docker_engine import engine, require
from adapter_build.hermetic.engine_kind import USUAL, EngineKind, engine_kind
from adapter_build.hermetic.environments import FOREIGN
from adapter_build.hermetic.execution import SECONDS_TO_END, Execution, Limits, RunFacts
from adapter_build.hermetic.images import image_of
from adapter_build.hermetic.liveness_lock import abandoned
from adapter_build.hermetic.sandbox import HOME, WORK, check_readable, command, environment, mounts

PYTHON = "/opt/env/bin/python"
PATH = "/opt/env/bin:/usr/local/bin:/usr/bin:/bin"
LABEL = "hermetic-step"
HOME_MEGABYTES = 256
ISOLATION = "container: read-only root, no capabilities, no new privileges, own uid"


@contextlib.contextmanager
def running(action: Action, attempt: Attempt, limits: Limits) -> Generator[Execution]:
    """Start the script in a container; stop and remove the container on leaving, and on TERM or INT."""
    if action.nodes > 1:
        raise BadInput(f"it needs {action.nodes} nodes, runtime docker supports one: set runtime: host or apptainer")
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
            ran = RunFacts("docker", isolation, image.reference, executed)
            yield Execution(lines(output), lambda: _code(client, identity, limits), ran)
        finally:
            if identity:
                client.stop(identity, timeout=SECONDS_TO_END)
                client.remove_container(identity, force=True)


def _configuration(
    client: Any, action: Action, attempt: Attempt, limits: Limits, image: str, kind: EngineKind = USUAL
) -> dict[str, Any]:
    """Return the container's configuration for the engine's API. Raises `BadInput` for an unreadable input."""
    from docker.types import DeviceRequest, Mount, Ulimit

    uid, gid, groups = os.getuid(), os.getgid(), sorted(os.getgroups())
    shown = mounts(action, attempt)
    check_readable(shown, kind.reader(uid, gid, groups))
    host = client.create_host_config(
        mounts=[
            Mount(str(mount.target), str(mount.source), type="bind", read_only=not mount.writable) for mount in shown
        ],
        # Open to the container's one user, whatever its number: Podman cannot give a tmpfs an owner.
        tmpfs={str(HOME): f"size={HOME_MEGABYTES}m,mode=1777", "/tmp": "mode=1777"},
        read_only=True,
        cap_drop=["ALL"],
        security_opt=kind.security,
        userns_mode=kind.user_namespace,
        # The user's own groups, which may be what makes an input readable.
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
        # The container's own name, which libraries of distributed training look up even for one process.
        extra_hosts=None if action.network else {LABEL: "127.0.0.1"},
        init=True,
        log_config={"Type": "none"},  # a step's output goes to its log alone
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
    """Return the labels of a container whose owner holds the liveness lock `lock`."""
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
    """Return the ids of `count` GPUs: those that the scheduler gave to this process, else the first ones.

    Raises `BadInput` where the scheduler gave fewer.
    """
    given = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if given and len(given) < count:
        raise BadInput(
            f"it needs {count} GPUs, but CUDA_VISIBLE_DEVICES names {len(given)}: ask the scheduler for as many"
        )
    return given[:count] if given else [str(index) for index in range(count)]


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield complete lines of output that arrives in chunks."""
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
    """Remove the containers of killed runners of this host: those whose attempt's lock nobody holds.

    A container whose checkout is not visible here (in a job's private /tmp) is left alone.
    """
    from docker.errors import APIError

    ours = {"label": [LABEL, f"{LABEL}.host={socket.gethostname()}"]}
    for container in client.containers(all=True, filters=ours):
        lock = Path(container["Labels"][LABEL])
        if os.path.isdir(lock.parent) and abandoned(lock):  # noqa: PTH112 - False, too, where we may not look
            with contextlib.suppress(APIError):  # another runner was quicker
                client.remove_container(container["Id"], force=True)
