"""A step that copies a file, and counts its runs in what it keeps; it fails where it is told to."""

import argparse
import os
import pathlib

parser = argparse.ArgumentParser()
for name in ("source", "copy", "resume"):
    parser.add_argument(f"--{name}")
parser.add_argument("--word", nargs="+")
parser.add_argument("--fails", default="no")
arguments = parser.parse_args()
text = pathlib.Path(arguments.source).read_text()
pathlib.Path(arguments.copy).write_text(text + " ".join(arguments.word))
kept = pathlib.Path(arguments.resume) / "runs"
runs = kept.read_text() + "+" if kept.exists() else "+"
kept.write_text(runs)
if arguments.fails == "yes":
    raise SystemExit("lost")
if arguments.fails == "dies":
    os.kill(os.getpid(), 9)
print(f"runs: {runs}")
