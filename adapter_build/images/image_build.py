"""Build of the environments' images by buildah: the same bytes every time.

Each image is a base with Python 3.11 and the packages of containers/<env>/requirements.lock. The base is the published
one, or, where no registry gives it, a Debian that is made once and kept by its sha256.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.core.pip import TORCH_INDEX, index_urls, pip_settings, wheel_folders
from adapter_build.hermetic.environments import CONTAINERS, CUDA, VENVS, lock_digest, lock_file
from adapter_build.hermetic.images import LOCAL, PUBLISHED, Image, read_images
from adapter_build.hermetic.terminal import StatusLine
from adapter_build.hermetic.variables import certificates
from adapter_build.images.image_lock import read_lock
from adapter_build.images.registry import on_this_machine

WORKFLOW = VENVS / "workflow" / "bin"
BASES = Path(".images")  # where Debian bases are kept
SUITE = "bookworm"
PREFIX = "localhost/adapter-build"
EPOCH = 1735689600  # 2025-01-01: the time of every file in an image
# Docker's own format holds the random name of the container that an image was built in, and the history any name that
# the base happens to have on this machine.
SAME_BYTES = ("--timestamp", str(EPOCH), "--format", "oci", "--layers=false", "--omit-history")


def need(program: str) -> None:
    """Raise `BadInput` unless `program` is installed."""
    if not shutil.which(program):
        raise BadInput(f"`make images` needs {program}: sudo apt-get install {program}")


def published_base() -> tuple[str, dict[str, Any]] | None:
    """Return the published base, if it is known by digest and its registry gives it."""
    image = read_images(PUBLISHED).get("base")
    if not image or not image.digest:
        return None
    insecure = ["--tls-verify=false"] if on_this_machine(image.repository) else []
    asked = ["skopeo", "inspect", "--raw", *insecure, f"docker://{image.reference}"]
    reachable = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    return (image.reference, {"reference": image.reference}) if reachable else None


def debian_base(log: Path) -> tuple[str, dict[str, Any]]:
    """Return the name of the base made of containers/base/packages.txt, and its entry for the lock.

    The base is made anew if the list of packages has changed or its archive has another sha256 than the lock has.
    DEBIAN_MIRROR may name another mirror, such as a snapshot of a day.
    """
    text = (CONTAINERS / "base" / "packages.txt").read_text(encoding="utf-8")
    wanted = [line for line in text.splitlines() if line and not line.startswith("#")]
    known = read_lock(LOCAL).get("base", {})
    archive = BASES / f"debian-{known.get('sha256')}.tar"
    if not (known.get("wanted") == wanted and archive.is_file() and file_digest(archive) == known["sha256"]):
        archive = _bootstrap(wanted, log)
    digest = archive.stem.removeprefix("debian-")
    name = f"{PREFIX}/base:{digest[:12]}"
    if subprocess.run(["buildah", "inspect", "--type", "image", name], capture_output=True, check=False).returncode:
        with tempfile.TemporaryDirectory(dir=BASES) as context:
            shutil.copy(CONTAINERS / "base" / "Dockerfile", context)
            os.link(archive, Path(context) / "base.tar")
            _call(["buildah", "build", *SAME_BYTES, "--tag", name, context], log, "image base")
    return name, {"sha256": digest, "wanted": wanted, "packages": _installed(archive)}


def _bootstrap(packages: list[str], log: Path) -> Path:
    need("mmdebstrap")
    BASES.mkdir(exist_ok=True)
    part = BASES / "debian.part.tar"
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(part)]
    _call([*command, *os.environ.get("DEBIAN_MIRROR", "").split()], log, "Debian by mmdebstrap")
    return part.replace(BASES / f"debian-{file_digest(part)}.tar")


def _installed(tar: Path) -> list[str]:
    """Return the packages that are installed in the base, as `name=version`."""
    with tarfile.open(tar) as archive:
        status = archive.extractfile("./var/lib/dpkg/status")
        assert status
        paragraphs = status.read().decode().strip().split("\n\n")
    fields = [
        dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        for paragraph in paragraphs
    ]
    return sorted(f"{package['Package']}={package['Version']}" for package in fields)


def build(environment: str, base: str, registry: str, log: Path) -> Image:
    """Build one image, hand it to the registry or the engine, and return its entry for the lock. Raises `BadInput`."""
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
            _call(command, log, f"image {environment}")
        except BadInput:
            if environment == CUDA or "torch" not in log.read_text(encoding="utf-8", errors="replace"):
                raise
            _stage(tools, settings, [*index_urls(settings), TORCH_INDEX])
            _call(command, log, f"image {environment}, torch from its own index")
        inspect = ["buildah", "inspect", "--type", "image", "--format", "{{.Manifest}}", f"{name}:{tag}"]
    if registry:
        insecure = ["--tls-verify=false"] if on_this_machine(registry) else []
        push = ["buildah", "push", *insecure, f"{name}:{tag}", f"docker://{name}:{tag}"]
        _call(push, log, f"image {environment}: to the registry")
        inspect = ["skopeo", "inspect", "--raw", *insecure, f"docker://{name}:{tag}"]
    else:
        load = ["skopeo", "copy", *daemon_host(), f"containers-storage:{name}:{tag}", f"docker-daemon:{name}:{tag}"]
        _call(load, log, f"image {environment}: into the engine")
    image = described(environment, name, f"{name}:{tag}", inspect)
    _call(["buildah", "rmi", f"{name}:{tag}"], log, f"image {environment}")
    return image


def daemon_host() -> list[str]:
    """Return skopeo's option for the engine that the docker command talks to."""
    return ["--dest-daemon-host", os.environ["DOCKER_HOST"]] if os.environ.get("DOCKER_HOST") else []


def described(environment: str, name: str, built: str, inspect: list[str]) -> Image:
    """Return the lock's entry for the image `built`, whose manifest the command `inspect` prints."""
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
    """Fill `folder`, the Dockerfile's /build: uv, its settings, and the certificates that it trusts."""
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


def _call(command: list[str], log: Path, label: str) -> None:
    """Run a command into the log, with a status line of the seconds. Raises `BadInput` with the log's last line."""
    status = StatusLine()
    began = time.monotonic()
    with open(log, "a", encoding="utf-8") as lines:
        lines.write(f"$ {' '.join(command)}\n")
        lines.flush()
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=lines, stderr=subprocess.STDOUT, env=environment
        ) as child:
            while child.poll() is None:
                status.show(f"  {label} … ({time.monotonic() - began:.0f} s)")
                time.sleep(0.2)
    status.finish()
    if child.returncode:
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise BadInput(f"{label}: {said[-1]} (log: {log})")
