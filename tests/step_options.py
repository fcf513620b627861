"""The beginning of a test's step: its files, and what the rest uses; each test adds what its step does."""

import argparse
import os  # noqa: F401
import pathlib
import time  # noqa: F401

parser = argparse.ArgumentParser()
for name in ("source", "more", "copy", "other"):
    parser.add_argument(f"--{name}")
arguments = parser.parse_args()
source, copy = pathlib.Path(arguments.source), pathlib.Path(arguments.copy)
