"""The base of the environments' images where no registry gives one: Debian, made once and kept by its sha256."""

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from adapter_build.core.digests import file_digest
from adapter_build.hermetic.environments import CONTAINERS
from adapter_build.hermetic.images import LOCAL
from adapter_build.images.image_lock import read
from adapter_build.images.image_tools import PREFIX, SAME_BYTES, call, need

KEPT = Path(".images")
SUITE = "bookworm"


def debian_base(log: Path) -> tuple[str, dict[str, Any]]:
    """Return the name of the base made of containers/base/packages.txt, and what the lock is to say of it.

    It is made anew if the list has changed or the kept file is not what the lock says. DEBIAN_MIRROR may name another
    mirror, such as a snapshot of a day.
    """
    text = (CONTAINERS / "base" / "packages.txt").read_text(encoding="utf-8")
    wanted = [line for line in text.splitlines() if line and not line.startswith("#")]
    known = read(LOCAL).get("base", {})
    kept = KEPT / f"debian-{known.get('sha256')}.tar"
    if not (known.get("wanted") == wanted and kept.is_file() and file_digest(kept) == known["sha256"]):
        kept = _bootstrap(wanted, log)
    digest = kept.stem.removeprefix("debian-")
    name = f"{PREFIX}/base:{digest[:12]}"
    if subprocess.run(["buildah", "inspect", "--type", "image", name], capture_output=True, check=False).returncode:
        with tempfile.TemporaryDirectory(dir=KEPT) as context:
            shutil.copy(CONTAINERS / "base" / "Dockerfile", context)
            os.link(kept, Path(context) / "base.tar")
            call(["buildah", "build", *SAME_BYTES, "--tag", name, context], log, "image base")
    return name, {"sha256": digest, "wanted": wanted, "packages": _installed(kept)}


def _bootstrap(packages: list[str], log: Path) -> Path:
    need("mmdebstrap")
    KEPT.mkdir(exist_ok=True)
    part = KEPT / "debian.part.tar"
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(part)]
    call([*command, *os.environ.get("DEBIAN_MIRROR", "").split()], log, "Debian by mmdebstrap")
    return part.replace(KEPT / f"debian-{file_digest(part)}.tar")


def _installed(tar: Path) -> list[str]:
    """Return what is installed in the base, as `name=version`."""
    with tarfile.open(tar) as archive:
        status = archive.extractfile("./var/lib/dpkg/status")
        assert status
        paragraphs = status.read().decode().strip().split("\n\n")
    fields = [
        dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        for paragraph in paragraphs
    ]
    return sorted(f"{package['Package']}={package['Version']}" for package in fields)
