"""Ask the registries what the tags of containers/images.yaml stand for, show old → new, and write it to the lock.

With --check nothing is written: a tag that now points elsewhere is reported, and the exit code is 1. Credentials are
those of `docker login` or `skopeo login`.
"""

import argparse
import datetime
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from faults import BadInput, run
from hermetic.images import PUBLISHED, Image, read_images
from image_lock import record_image
from image_tools import need, on_this_machine
from yaml_edit import show_changes

LISTED = Path("containers/images.yaml")
PLATFORM = ("linux", "amd64")
SHOWN = ("repository", "tag", "digest", "platform", "size", "created")


def main() -> None:
    """Resolve the images named, by default all; those that cannot be reached are named at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=LISTED, help="name, tag and role of each")
    parser.add_argument("--lock", type=Path, default=PUBLISHED, help="the lock to write")
    parser.add_argument("--image", nargs="+", default=[], help="resolve these alone")
    parser.add_argument("--check", action="store_true", help="report what has moved; write nothing")
    options = parser.parse_args()
    need("skopeo")
    listed = yaml.safe_load(options.images.read_text(encoding="utf-8"))
    if unknown := sorted(set(options.image) - set(listed)):
        raise BadInput(f"{options.images} has no image {unknown[0]} (it has: {', '.join(listed)})")
    known, moved, failed = read_images(options.lock), [], []
    for name in options.image or listed:
        print(f"{name}: {listed[name]['reference']}", flush=True)
        try:
            found = resolve(name, listed[name]["reference"], listed[name]["role"])
        except BadInput as fault:
            print(f"error: {fault}", file=sys.stderr)
            failed.append(name)
            continue
        old = known.get(name) or Image(name, found.repository)
        show_changes({key: getattr(old, key) for key in SHOWN}, {key: getattr(found, key) for key in SHOWN})
        if old.digest not in (None, found.digest):
            moved.append(name)
        if not options.check:
            record_image(options.lock, found)
    if failed:
        raise BadInput(f"not resolved: {', '.join(failed)}; what the lock says of them has not changed")
    if options.check and moved:
        print(f"moved: {', '.join(moved)}; builds go on with the digests of {options.lock}, `make pin` follows")
        sys.exit(1)


def resolve(name: str, reference: str, role: str) -> Image:
    """Return the image that a tag stands for on PLATFORM. Raises `BadInput` if its registry does not say."""
    repository, _, tag = reference.rpartition(":")
    digest, manifest = _manifest(reference)
    if "manifests" in manifest:  # one image per platform
        listed = [entry for entry in manifest["manifests"] if _platform(entry.get("platform", {})) == PLATFORM]
        if not listed:
            raise BadInput(f"{reference}: has no image for {'/'.join(PLATFORM)}")
        digest, manifest = _manifest(f"{repository}@{listed[0]['digest']}")
    config = json.loads(ask(["--config", "--raw"], f"{repository}@{digest}"))
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
    raw = ask(["--raw"], reference)
    return f"sha256:{hashlib.sha256(raw).hexdigest()}", json.loads(raw)


def ask(options: list[str], reference: str) -> bytes:
    """Return what `skopeo inspect` says of a reference. Raises `BadInput` with what mends a refusal."""
    insecure = ["--tls-verify=false"] if on_this_machine(reference) else []
    command = ["skopeo", "inspect", *insecure, *options, f"docker://{reference}"]
    asked = subprocess.run(command, capture_output=True, check=False)
    if asked.returncode:
        said = asked.stderr.decode(errors="replace").strip().splitlines() or ["no answer"]
        raise BadInput(f"{reference}: {_reason(said[-1])}")
    return asked.stdout


def _reason(said: str) -> str:
    """Return what skopeo said without its time stamp, and what mends it."""
    message = said.split('msg="', 1)[-1].rstrip('"')
    if "unauthorized" in message or "authentication required" in message or "denied" in message:
        return f"the registry wants a login: docker login (nvcr.io: user $oauthtoken, an NGC API key): {message}"
    if "manifest unknown" in message or "not found" in message:
        return f"the registry has no such tag: correct containers/images.yaml: {message}"
    return f"the registry does not answer: {message}"


def _platform(described: dict[str, Any]) -> tuple[Any, Any]:
    return described.get("os"), described.get("architecture")


if __name__ == "__main__":
    run(main)
