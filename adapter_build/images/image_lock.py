"""Locks of images, written: one entry, or the base, whole or not at all; the rest of the file stays."""

from pathlib import Path
from typing import Any

import yaml

from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.faults import BadInput
from adapter_build.hermetic.images import Image


def record_image(lock: Path, image: Image) -> None:
    """Write an image's entry."""
    content = read_lock(lock)
    images = {**content.get("images", {}), image.name: image.entry()}
    _write(lock, {**content, "images": dict(sorted(images.items()))})


def record_base(lock: Path, base: dict[str, Any]) -> None:
    """Write the base that the images of this machine are built on."""
    _write(lock, {**read_lock(lock), "base": base})


def read_lock(lock: Path) -> dict[str, Any]:
    """Return a lock's content, empty where there is none. Raises `BadInput`."""
    try:
        return yaml.safe_load(lock.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise BadInput(f"{lock}: not YAML ({error})") from None


def _write(lock: Path, content: dict[str, Any]) -> None:
    lines = lock.read_text(encoding="utf-8").splitlines(keepends=True) if lock.is_file() else []
    comment = "".join(line for line in lines if line.startswith("#"))
    write_atomically(lock, comment + yaml.safe_dump(content, sort_keys=False, width=120))
