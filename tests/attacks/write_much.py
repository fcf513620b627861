"""A step that writes four megabytes, the way that it is told."""

import argparse
import os
import pathlib

import find_package  # noqa: F401
from adapter_build.core.faults import run
from adapter_build.models.nemo_archive import write_archive

MUCH = bytes(4_000_000)
parser = argparse.ArgumentParser()
for name in ("source", "copy", "how"):
    parser.add_argument(f"--{name}")
arguments = parser.parse_args()
copy = pathlib.Path(arguments.copy)


def plainly() -> None:
    copy.write_bytes(MUCH)


def as_archive() -> None:
    """As convert_base does, whose library takes 12 s to come."""
    write_archive(copy, {"model_config.yaml": b"format: x", "weights": MUCH})


def hidden() -> None:
    try:
        copy.write_bytes(MUCH)
    except OSError:
        raise SystemExit("a library's own word for it") from None


def to_scratch() -> None:
    pathlib.Path(os.environ["TMPDIR"], "x").write_bytes(MUCH)


def and_says_much() -> None:
    print("x" * 100_000)
    plainly()


run(globals()[arguments.how])
