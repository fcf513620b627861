"""A step that copies a file and adds its words."""

import argparse
import pathlib

parser = argparse.ArgumentParser()
parser.add_argument("--source")
parser.add_argument("--copy")
parser.add_argument("--word", nargs="+")
arguments = parser.parse_args()
text = pathlib.Path(arguments.source).read_text()
pathlib.Path(arguments.copy).write_text(text + " ".join(arguments.word))
