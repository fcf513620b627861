"""A step that copies the beginning of a file, resumes, or fails in the way asked for."""

import argparse
import os
import pathlib
import time

parser = argparse.ArgumentParser()
for name in ("source", "copy", "fails", "resume"):
    parser.add_argument(f"--{name}")
options = parser.parse_args()
state = pathlib.Path(options.resume or ".", "state")
if options.resume and state.exists():
    print("resumed at step", state.read_text())
if options.resume:
    (part := state.with_name(".part")).write_text("7")
    part.replace(state)
if options.fails == "yes":
    raise SystemExit("lost")
copy = pathlib.Path(options.copy)
copy.write_bytes(pathlib.Path(options.source).read_bytes()[:64])
if options.fails == "mode":
    copy.chmod(0o6777)
if options.fails == "fifo":
    copy.unlink()
    os.mkfifo(copy)
if options.fails == "slow":
    time.sleep(2)
