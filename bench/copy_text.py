"""A step that copies a file."""

import argparse
import pathlib

parser = argparse.ArgumentParser()
parser.add_argument("--source")
parser.add_argument("--copy")
arguments = parser.parse_args()
pathlib.Path(arguments.copy).write_text(pathlib.Path(arguments.source).read_text())
