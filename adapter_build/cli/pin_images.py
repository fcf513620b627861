"""Resolve the tags of containers/images.yaml at their registries, show old → new, and write the digests to the lock.

With --check nothing is written: a tag that has moved is reported, and the exit code is 1. Credentials are
those of `docker login` or `skopeo login`.
"""

import argparse
import sys
from pathlib import Path

import yaml

from adapter_build.core.faults import BadInput, run
from adapter_build.core.yaml_edit import show_changes
from adapter_build.hermetic.images import PUBLISHED, Image, read_images
from adapter_build.images.image_build import need
from adapter_build.images.image_lock import record_image
from adapter_build.images.registry import resolve

LISTED = Path("containers/images.yaml")
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


if __name__ == "__main__":
    run(main)
