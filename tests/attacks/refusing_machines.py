"""Machines that refuse a build: full, closed, read-only, without a name for the user; makers of each, by its name."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from held_steps_of import Project, Way

Done = subprocess.CompletedProcess[str]
OWN = Way("own", ordinary=False, bubblewrap=True)
FILES = ("--input", "source", "in.txt", "--output", "copy", "results/out.txt")
COPY = """
import argparse, pathlib, shutil
from adapter_build.core.faults import run
parser = argparse.ArgumentParser()
parser.add_argument("--source"); parser.add_argument("--copy"); arguments = parser.parse_args()
"""
WRITES = COPY + "run(lambda: pathlib.Path(arguments.copy).write_bytes(bytes(4_000_000)))\n"
# As convert_base does, whose library takes 12 s to come.
ARCHIVES = (
    COPY
    + """
from adapter_build.models.nemo_archive import write_archive
run(lambda: write_archive(arguments.copy, {"model_config.yaml": b"format: x", "weights": bytes(4_000_000)}))
"""
)
CATCHES = (
    COPY
    + """
try:
    pathlib.Path(arguments.copy).write_bytes(bytes(4_000_000))
except OSError:
    raise SystemExit("a library's own word for it") from None
"""
)
SCRATCH = COPY + "import os\nrun(lambda: pathlib.Path(os.environ['TMPDIR'], 'x').write_bytes(bytes(4_000_000)))\n"
# Refuse Landlock's three calls as a kernel without it does; then become the command.
UNKNOWN_TO_THE_KERNEL = f"""
import ctypes, os, struct, sys
lines = [(0x20, 0, 0, 0), (0x35, 0, 2, 444), (0x35, 1, 0, 447), (6, 0, 0, {0x50000 | 38}), (6, 0, 0, {0x7FFF0000})]
code = b"".join(struct.pack("=HBBI", *line) for line in lines)
held = ctypes.create_string_buffer(code, len(code))
library = ctypes.CDLL(None)
library.prctl(38, 1, 0, 0, 0)
library.prctl(22, 2, struct.pack("@HP", len(lines), ctypes.addressof(held)), 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
WITHOUT_LANDLOCK = (sys.executable, "-c", UNKNOWN_TO_THE_KERNEL)
NOTHING_HOLDS = Way("nothing", ordinary=False, bubblewrap=False, around=WITHOUT_LANDLOCK)
LIMITS = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
os.execv(sys.argv[1], sys.argv[1:])
"""
LIMITED = (sys.executable, "-c", LIMITS)


def _project(place: Path, ordinary: bool = False) -> Project:
    for above in (place, place.parent, place.parent.parent) if ordinary else ():
        above.chmod(0o755)
    return Project(place / "project", ordinary)


@contextlib.contextmanager
def _mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount a file system in memory there; skip where that needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", *options, "none", folder], check=False).returncode:
        pytest.skip("needs root, who can mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _full(folder: str, script: str, *options: str) -> Callable[[Path], AbstractContextManager[Done]]:
    """Return the maker of a step that writes 4 MB where a file system of 2 MB, or of few files, is mounted."""

    @contextlib.contextmanager
    def made(place: Path) -> Iterator[Done]:
        project = _project(place)
        with _mounted(project.folder / folder, *(options or ("-o", "size=2m"))):
            yield project.step(script, *FILES, way=OWN)

    return made


@contextlib.contextmanager
def _full_log(place: Path) -> Iterator[Done]:
    project = _project(place)
    with _mounted(project.folder / "logs", "-o", "size=8k"):
        (project.folder / "logs/fill").write_bytes(bytes(4096))
        yield project.step("print('x' * 100_000)\n" + WRITES, *FILES, way=OWN)


@contextlib.contextmanager
def _limited(place: Path) -> Iterator[Done]:
    yield _project(place).step(WRITES, *FILES, way=Way("limited", False, True, LIMITED))


def _closed(name: str) -> Callable[[Path], AbstractContextManager[Done]]:
    """Return the maker of a step whose folder `name` is another user's."""

    @contextlib.contextmanager
    def made(place: Path) -> Iterator[Done]:
        if os.geteuid():
            pytest.skip("needs root, who can give folders away")
        project = _project(place)
        folder = project.folder / name
        folder.mkdir(parents=True)
        folder.chmod(0o555)
        os.chown(folder, 65534, 65534)
        without_power = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
        yield project.step(WRITES, *FILES, way=Way("closed", False, False, without_power))
        os.chown(folder, 0, 0)

    return made


@contextlib.contextmanager
def _read_only(place: Path) -> Iterator[Done]:
    project = _project(place)
    seen = place / "seen"
    seen.mkdir()
    if os.geteuid():
        pytest.skip("needs root, who can mount a folder read-only")
    subprocess.run(["mount", "--bind", project.folder, seen], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", seen], check=True)
        (project.folder / "scripts/try_it.py").write_text(WRITES)
        command = [sys.executable, "-B", "scripts/step.py", "--env", "workflow", "--log", "logs/try.log", *FILES]
        yield subprocess.run(
            [*command, "--", "scripts/try_it.py"], cwd=seen, capture_output=True, text=True, check=False
        )
    finally:
        subprocess.run(["umount", "-l", seen], check=True)


@contextlib.contextmanager
def _required(place: Path) -> Iterator[Done]:
    yield _project(place).step(WRITES, *FILES, way=NOTHING_HOLDS, STEP_ISOLATION="required")


@contextlib.contextmanager
def _strangers_input(place: Path) -> Iterator[Done]:
    """Root reads what it may by power alone, and a step of its has none."""
    if os.geteuid():
        pytest.skip("needs root")
    project = _project(place)
    (project.folder / "in.txt").chmod(0o600)
    os.chown(project.folder / "in.txt", 65534, 65534)
    yield project.step(WRITES, *FILES, way=Way("landlock", False, False))


MACHINES: dict[str, Callable[[Path], AbstractContextManager[Done]]] = {
    "a full disk": _full("results", WRITES),
    "a full disk under an archive": _full("results", ARCHIVES),
    "a full disk that a library hides": _full("results", CATCHES),
    "a full disk under scratch": _full("results", SCRATCH),
    "no more files": _full("results", WRITES, "-o", "size=9m,nr_inodes=6"),
    "a full disk under the log": _full_log,
    "a limit on files": _limited,
    "results of another user": _closed("results"),
    "attestations of another user": _closed("results/lineage"),
    "attempts of another user": _closed("results/.attempts"),
    "logs of another user": _closed("logs"),
    "a read-only checkout": _read_only,
    "isolation that is required": _required,
    "an input of another user": _strangers_input,
}
