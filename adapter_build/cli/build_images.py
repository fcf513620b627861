"""Build the environments' images, the same bytes every time, and record them by digest.

Each is a base with Python 3.11 and what containers/<env>/requirements.lock says. They go to the Docker engine of this
machine, or with --registry to a registry, from which every engine takes them by digest.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput, run
from adapter_build.core.pip import TORCH_INDEX, index_urls, pip_settings, wheel_folders
from adapter_build.hermetic.docker_engine import ping
from adapter_build.hermetic.environments import CONTAINERS, CUDA, ENVIRONMENTS, VENVS, lock_digest, lock_file
from adapter_build.hermetic.images import LOCAL, PUBLISHED, Image, read_images
from adapter_build.hermetic.variables import certificates
from adapter_build.images.debian_base import debian_base
from adapter_build.images.image_lock import record_base, record_image
from adapter_build.images.image_tools import PREFIX, SAME_BYTES, call, need, on_this_machine

WORKFLOW = VENVS / "workflow" / "bin"


def main() -> None:
    """Build what the command line names, by default all four, and write the lock."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", nargs="+", default=ENVIRONMENTS, choices=(*ENVIRONMENTS, CUDA))
    parser.add_argument("--registry", default="", help="HOST[:PORT]/PREFIX to push to; default: this machine's engine")
    parser.add_argument("--log", type=Path, default=Path("logs/images.log"))
    options = parser.parse_args()
    for program in ("buildah", "skopeo"):
        need(program)
    if not options.registry:
        ping()
    options.log.parent.mkdir(parents=True, exist_ok=True)
    options.log.write_text("")
    name, base = published_base() or debian_base(options.log)
    record_base(LOCAL, base)
    for environment in options.environment:
        image = build(environment, name, options.registry, options.log)
        record_image(PUBLISHED if options.registry else LOCAL, image)
        print(f"  image {environment:<9} {image.reference}  {image.size / 1e6:.0f} MB", flush=True)


def published_base() -> tuple[str, dict[str, Any]] | None:
    """Return the published base, if it is known by digest and its registry gives it."""
    image = read_images(PUBLISHED).get("base")
    if not image or not image.digest:
        return None
    insecure = ["--tls-verify=false"] if on_this_machine(image.repository) else []
    asked = ["skopeo", "inspect", "--raw", *insecure, f"docker://{image.reference}"]
    reachable = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    return (image.reference, {"reference": image.reference}) if reachable else None


def build(environment: str, base: str, registry: str, log: Path) -> Image:
    """Build one image, hand it to the registry or the engine, and return what is known of it."""
    name = f"{registry or PREFIX}/{environment}"
    tag = lock_digest(environment)[:12]
    settings = pip_settings(WORKFLOW / "python")
    with tempfile.TemporaryDirectory() as folder:
        tools, context = Path(folder) / "build", CONTAINERS / environment
        if environment == CUDA:  # its lock has another name, in another's folder
            context = Path(folder) / "context"
            context.mkdir()
            shutil.copy(CONTAINERS / "environment.Dockerfile", context / "Dockerfile")
            shutil.copy(lock_file(environment), context / "requirements.lock")
        cache = subprocess.run([WORKFLOW / "uv", "cache", "dir"], capture_output=True, text=True, check=True)
        mounts = [f"{tools}:/build:ro", f"{cache.stdout.strip()}:/cache"]
        mounts += [f"{link}:{link}:ro" for link in wheel_folders(settings)]
        command = ["buildah", "build", *SAME_BYTES, "--isolation", "chroot", "--build-arg", f"BASE={base}"]
        command += ["--tls-verify=false"] if on_this_machine(base) and "@" in base else []
        command += [word for mount in mounts for word in ("--volume", mount)]
        command += ["--tag", f"{name}:{tag}", str(context)]
        try:
            _stage(tools, settings, index_urls(settings))
            call(command, log, f"image {environment}")
        except BadInput:
            if environment == CUDA or "torch" not in log.read_text(encoding="utf-8", errors="replace"):
                raise
            _stage(tools, settings, [*index_urls(settings), TORCH_INDEX])
            call(command, log, f"image {environment}, torch from its own index")
        inspect = ["buildah", "inspect", "--type", "image", "--format", "{{.Manifest}}", f"{name}:{tag}"]
    if registry:
        insecure = ["--tls-verify=false"] if on_this_machine(registry) else []
        push = ["buildah", "push", *insecure, f"{name}:{tag}", f"docker://{name}:{tag}"]
        call(push, log, f"image {environment}: to the registry")
        inspect = ["skopeo", "inspect", "--raw", *insecure, f"docker://{name}:{tag}"]
    else:
        load = ["skopeo", "copy", *daemon_host(), f"containers-storage:{name}:{tag}", f"docker-daemon:{name}:{tag}"]
        call(load, log, f"image {environment}: into the engine")
    image = described(environment, name, f"{name}:{tag}", inspect)
    call(["buildah", "rmi", f"{name}:{tag}"], log, f"image {environment}")
    return image


def daemon_host() -> list[str]:
    """Return skopeo's option for the engine that the docker command talks to."""
    return ["--dest-daemon-host", os.environ["DOCKER_HOST"]] if os.environ.get("DOCKER_HOST") else []


def described(environment: str, name: str, built: str, inspect: list[str]) -> Image:
    """Return what is known of the image `built`, whose manifest `inspect` prints."""
    raw = subprocess.run(inspect, capture_output=True, check=True).stdout
    raw = raw if inspect[0] == "skopeo" else raw.rstrip(b"\n")
    configure = ["buildah", "inspect", "--type", "image", "--format", "{{.Config}}", built]
    config = json.loads(subprocess.run(configure, capture_output=True, check=True).stdout)
    manifest = json.loads(raw)
    return Image(
        name=environment,
        repository=name,
        digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
        image_id=manifest["config"]["digest"],
        platform=f"{config['os']}/{config['architecture']}",
        size=sum(layer["size"] for layer in manifest["layers"]),
        created=config["created"],
        lock=lock_digest(environment),
        verified="built here",
    )


def _stage(folder: Path, settings: dict[str, str], indexes: list[str]) -> None:
    """Put into `folder` what the Dockerfile finds under /build: uv, its settings, and the certificates it trusts."""
    folder.mkdir(exist_ok=True)
    shutil.copy(WORKFLOW / "uv", folder)
    index: list[dict[str, Any]] = [{"url": url} for url in indexes]
    if "index-url" in settings:
        index.append({"url": settings["index-url"], "default": True})
    lines = ['cache-dir = "/cache"', 'link-mode = "copy"', "native-tls = true", 'index-strategy = "unsafe-best-match"']
    lines.append(f"find-links = {json.dumps(settings.get('find-links', '').split())}")
    for entry in index:
        lines += ["[[index]]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    (folder / "uv.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if bundle := certificates():
        shutil.copy(bundle, folder / "certificates.crt")


if __name__ == "__main__":
    run(main)
