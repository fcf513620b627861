"""Docker engine: a client for it, and images in it by their digests."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.images import Image
from adapter_build.hermetic.terminal import StatusLine

USUAL_ADDRESS = "unix:///var/run/docker.sock"
Mend = Callable[[str], str]


def ping() -> None:
    """Raise `BadInput` unless an engine answers."""
    with engine():
        pass


def answers(images: Iterable[Image]) -> bool:
    """Tell whether an engine answers and has every one of these images."""
    address = _address()
    if address.startswith("unix://") and not Path(address.removeprefix("unix://")).exists():
        return False  # without the SDK, whose import takes longer than the answer
    try:
        with engine() as client:
            return all(found(client, image) for image in images)
    except BadInput:
        return False


def _mend(reason: str) -> str:
    if "unknown" in reason or "not found" in reason:
        return "make pin CHECK=1 shows what the registry has"
    if "denied" in reason or "unauthorized" in reason or "authentication" in reason:
        return "docker login"
    return "is the registry up?"


@contextlib.contextmanager
def engine(without: str = "runtime: host") -> Generator[Any]:
    """Yield the engine's client; turn its errors into `BadInput`. `without` names a setting that needs no engine."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    client = None
    try:
        from docker import APIClient
        from docker.utils import kwargs_from_env

        client = APIClient(version="auto", **kwargs_from_env())
        yield client
    except APIError as error:
        raise BadInput(f"the Docker engine refused: {error.explanation or error}") from None
    except (DockerException, RequestException) as error:
        address = _address()
        raise BadInput(
            f"the Docker engine at {address} does not answer ({_short(error)}): start it, or do without ({without})"
        ) from None
    finally:
        if client:
            client.close()


def require(client: Any, image: Image, login: dict[str, str] | None = None, mend: Mend = _mend) -> str:
    """Return the image's id; pull it by its digest first unless the engine has it.

    `login` (username, password) is for the image's registry alone; `mend` returns the remedy for a refused pull. Raises
    `BadInput` for an image of another platform, and for content other than the lock names.
    """
    known = found(client, image)
    if not known:
        _pull(client, image, login, mend)
        known = found(client, image)
    if not known:
        raise BadInput(f"{image.reference}: pulled, but the engine does not know it: docker system info")
    identity: str = known["Id"]
    if image.image_id and identity not in (image.image_id, image.digest):
        raise BadInput(f"{image.reference}: the engine has {identity} under this name, not {image.image_id}")
    theirs = f"{known['Os']}/{known['Architecture']}"
    engine_is = client.version()
    ours = f"{engine_is['Os']}/{engine_is['Arch']}"
    if theirs != ours:
        raise BadInput(f"{image.reference} is for {theirs}, this engine runs {ours}: make images builds one for it")
    return identity


def found(client: Any, image: Image) -> dict[str, Any] | None:
    """Return the engine's record of the image, or None if it does not have the image."""
    from docker.errors import ImageNotFound, NotFound

    for name in filter(None, (image.image_id, image.reference)):
        with contextlib.suppress(ImageNotFound, NotFound):
            return client.inspect_image(name)
    return None


def _pull(client: Any, image: Image, login: dict[str, str] | None, mend: Mend) -> None:
    from docker.errors import APIError

    if "/" not in image.repository or image.repository.startswith("localhost/"):
        raise BadInput(f"{image.reference}: not in this engine, and in no registry: run `make images`")
    status = StatusLine()
    try:
        for event in client.pull(image.repository, tag=image.digest, stream=True, decode=True, auth_config=login):
            status.show(f"  pulling the image of {image.name}: {event.get('status', '')} {event.get('progress', '')}")
            if "error" in event:
                raise BadInput(f"{image.reference}: cannot be pulled: {event['error']}: {mend(event['error'])}")
    except APIError as error:
        reason = error.explanation or str(error)
        raise BadInput(f"{image.reference}: cannot be pulled: {reason}: {mend(reason)}") from None
    finally:
        status.finish()


def _address() -> str:
    return os.environ.get("DOCKER_HOST") or USUAL_ADDRESS


def _short(error: Exception) -> str:
    """Return the system's own reason, which the SDK wraps several times."""
    text = str(error)
    known = {"FileNotFoundError": "no such socket", "ConnectionRefused": "nothing listens there"}
    known["PermissionError"] = "this user may not use it: join the group docker"
    return next((said for name, said in known.items() if name in text), text.splitlines()[0][:160])
