"""Images of the environments, by digest: the entries of containers/images.local.lock.yaml and images.lock.yaml."""

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.environments import CONTAINERS, ENVIRONMENTS, FOREIGN, lock_digest, lock_path

PUBLISHED = CONTAINERS / "images.lock.yaml"  # those in a registry that others can reach; tracked
LOCAL = CONTAINERS / "images.local.lock.yaml"  # those that `make images` built here; not tracked
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Image:
    """One entry. `digest` is the manifest's, `image_id` the configuration's, by which an engine knows an image.

    `lock` is the sha256 of the requirements.lock that is installed in it; production images have none. `verified` says
    who compared the digest with the registry; nobody: `not verified`.
    """

    name: str
    repository: str
    digest: str | None = None
    image_id: str | None = None
    platform: str = "linux/amd64"
    size: int | None = None
    created: str | None = None
    lock: str | None = None
    role: str = ""
    tag: str | None = None
    verified: str = "not verified"

    @property
    def reference(self) -> str:
        """The image's full name by digest."""
        return f"{self.repository}@{self.digest}"

    def entry(self) -> dict[str, Any]:
        """Return the image's entry in a lock: every value that is set, but its name."""
        return {key: value for key, value in asdict(self).items() if key != "name" and value not in (None, "")}


def read_images(path: Path) -> dict[str, Image]:
    """Return a lock's images by name; none where the file is missing. Raises `BadInput` that names file and entry."""
    try:
        content: dict[str, dict[str, Any] | None] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not YAML ({error})") from None
    known = {field.name for field in fields(Image)}
    images: dict[str, Image] = {}
    for name, entry in (content.get("images") or {}).items():
        if unknown := sorted(set(entry) - known):
            raise BadInput(f"{path}: images.{name}: unknown key {unknown[0]!r}")
        for key in ("digest", "image_id"):
            if entry.get(key) and not DIGEST.fullmatch(entry[key]):
                raise BadInput(f"{path}: images.{name}.{key}: {entry[key]!r} is no sha256: digest: run make pin")
        images[name] = Image(name, **entry)
    return images


def image_of(environment: str) -> Image:
    """Return the image of an environment. Raises `BadInput`, with the remedy, for a missing or an outdated one."""
    if environment in FOREIGN:
        return confirmed_image(environment)
    image = read_images(LOCAL).get(environment) or read_images(PUBLISHED).get(environment)
    wanted = "" if environment in ENVIRONMENTS else f" ENVIRONMENT={environment}"
    if image is None or image.digest is None:
        raise BadInput(
            f"no image of {environment} is known by digest: run `make images{wanted}` to build it, or `make pin` where "
            "containers/images.yaml names a published one"
        )
    if image.lock != lock_digest(environment):
        raise BadInput(
            f"the image of {environment} ({image.reference}) was built from another {lock_path(environment).name}: "
            f"make images{wanted}"
        )
    return image


def confirmed_image(name: str, lock: Path = PUBLISHED) -> Image:
    """Return a published image of the lock. Raises `BadInput` unless its registry has confirmed the digest."""
    images = read_images(lock)
    if name not in images:
        raise BadInput(f"{lock} has no {name!r} (it has: {', '.join(sorted(images))})")
    image = images[name]
    if not image.digest or image.verified == "not verified":
        state = "not verified" if image.digest else "unknown"
        raise BadInput(
            f"{lock}: the digest of {name} ({image.repository}:{image.tag}) is {state}: make pin asks its registry "
            "(first: docker login, see containers/images.yaml)"
        )
    return image
