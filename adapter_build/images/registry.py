"""Image registries, queried by skopeo: the image that a tag stands for, by digest."""

import datetime
import hashlib
import json
import subprocess
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.images import Image

PLATFORM = ("linux", "amd64")


def on_this_machine(registry: str) -> bool:
    """Tell if a registry is on loopback, where engines and tools reach it without TLS."""
    return registry.startswith(("127.", "localhost:"))


def resolve(name: str, reference: str, role: str) -> Image:
    """Return the image that a tag stands for on PLATFORM. Raises `BadInput` if its registry does not say."""
    repository, _, tag = reference.rpartition(":")
    digest, manifest = _manifest(reference)
    if "manifests" in manifest:  # one image per platform
        listed = [entry for entry in manifest["manifests"] if _platform(entry.get("platform", {})) == PLATFORM]
        if not listed:
            raise BadInput(f"{reference}: has no image for {'/'.join(PLATFORM)}")
        digest, manifest = _manifest(f"{repository}@{listed[0]['digest']}")
    config = json.loads(inspect(["--config", "--raw"], f"{repository}@{digest}"))
    if _platform(config) != PLATFORM:
        raise BadInput(f"{reference}: is for {'/'.join(map(str, _platform(config)))}, not {'/'.join(PLATFORM)}")
    return Image(
        name=name,
        repository=repository,
        tag=tag,
        digest=digest,
        image_id=manifest["config"]["digest"],
        platform="/".join(PLATFORM),
        size=sum(layer["size"] for layer in manifest["layers"]),
        created=config.get("created"),
        role=role,
        verified=f"asked of its registry on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    )


def _manifest(reference: str) -> tuple[str, dict[str, Any]]:
    raw = inspect(["--raw"], reference)
    return f"sha256:{hashlib.sha256(raw).hexdigest()}", json.loads(raw)


def inspect(options: list[str], reference: str) -> bytes:
    """Return the output of `skopeo inspect` for a reference. Raises `BadInput` with the mend of a refusal."""
    insecure = ["--tls-verify=false"] if on_this_machine(reference) else []
    command = ["skopeo", "inspect", *insecure, *options, f"docker://{reference}"]
    asked = subprocess.run(command, capture_output=True, check=False)
    if asked.returncode:
        said = asked.stderr.decode(errors="replace").strip().splitlines() or ["no answer"]
        raise BadInput(f"{reference}: {_reason(said[-1])}")
    return asked.stdout


def _reason(said: str) -> str:
    """Return skopeo's message without its time stamp, after the fault's mend."""
    message = said.split('msg="', 1)[-1].rstrip('"')
    if "unauthorized" in message or "authentication required" in message or "denied" in message:
        return f"the registry wants a login: docker login (nvcr.io: user $oauthtoken, an NGC API key): {message}"
    if "manifest unknown" in message or "not found" in message:
        return f"the registry has no such tag: correct containers/images.yaml: {message}"
    return f"the registry does not answer: {message}"


def _platform(described: dict[str, Any]) -> tuple[Any, Any]:
    return described.get("os"), described.get("architecture")
