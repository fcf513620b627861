"""Build the environments' images, the same bytes every time, and record them by digest.

They go to the Docker engine of this machine, or with --registry to a registry, from which every engine takes them by
digest.
"""

import argparse
from pathlib import Path

from adapter_build.core.faults import run
from adapter_build.hermetic.docker_engine import ping
from adapter_build.hermetic.environments import CUDA, ENVIRONMENTS
from adapter_build.hermetic.images import LOCAL, PUBLISHED
from adapter_build.images.image_build import build, debian_base, need, published_base
from adapter_build.images.image_lock import record_base, record_image


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
        print(f"  image {environment:<9} {image.reference}  {(image.size or 0) / 1e6:.0f} MB", flush=True)


if __name__ == "__main__":
    run(main)
