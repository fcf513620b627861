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
WRITES = Path(__file__).with_name("write_much.py").read_text()
WITHOUT_LANDLOCK = (sys.executable, str(Path(__file__).with_name("without_landlock.py")))
NOTHING_HOLDS = Way("nothing", ordinary=False, bubblewrap=False, around=WITHOUT_LANDLOCK)
LIMITED = (sys.executable, str(Path(__file__).with_name("limit_files.py")))


def writing(how: str = "plainly") -> tuple[str, ...]:
    """Return the options of a step that writes four megabytes in that way."""
    return (*FILES, "--param", "how", how)


def _project(place: Path, ordinary: bool = False) -> Project:
    for above in (place, place.parent, place.parent.parent) if ordinary else ():
        above.chmod(above.stat().st_mode | 0o055)
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


def _full(folder: str, how: str, *options: str) -> Callable[[Path], AbstractContextManager[Done]]:
    """Return the maker of a step that writes 4 MB where a file system of 2 MB, or of few files, is mounted."""

    @contextlib.contextmanager
    def made(place: Path) -> Iterator[Done]:
        project = _project(place)
        with _mounted(project.folder / folder, *(options or ("-o", "size=2m"))):
            yield project.step(WRITES, *writing(how), way=OWN)

    return made


@contextlib.contextmanager
def _full_log(place: Path) -> Iterator[Done]:
    project = _project(place)
    with _mounted(project.folder / "logs", "-o", "size=8k"):
        (project.folder / "logs/fill").write_bytes(bytes(4096))
        yield project.step(WRITES, *writing("and_says_much"), way=OWN)


@contextlib.contextmanager
def _limited(place: Path) -> Iterator[Done]:
    yield _project(place).step(WRITES, *writing(), way=Way("limited", False, True, LIMITED))


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
        yield project.step(WRITES, *writing(), way=Way("closed", False, False, without_power))
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
        command = [sys.executable, "-B", "scripts/step.py", "--env", "workflow", "--log", "logs/try.log", *writing()]
        yield subprocess.run(
            [*command, "--", "scripts/try_it.py"], cwd=seen, capture_output=True, text=True, check=False
        )
    finally:
        subprocess.run(["umount", "-l", seen], check=True)


@contextlib.contextmanager
def _required(place: Path) -> Iterator[Done]:
    yield _project(place).step(WRITES, *writing(), way=NOTHING_HOLDS, STEP_ISOLATION="required")


@contextlib.contextmanager
def _strangers_input(place: Path) -> Iterator[Done]:
    """Root reads what it may by power alone, and a step of its has none."""
    if os.geteuid():
        pytest.skip("needs root")
    project = _project(place)
    (project.folder / "in.txt").chmod(0o600)
    os.chown(project.folder / "in.txt", 65534, 65534)
    yield project.step(WRITES, *writing(), way=Way("landlock", False, False))


MACHINES: dict[str, Callable[[Path], AbstractContextManager[Done]]] = {
    "a full disk": _full("results", "plainly"),
    "a full disk under an archive": _full("results", "as_archive"),
    "a full disk that a library hides": _full("results", "hidden"),
    "a full disk under scratch": _full("results", "to_scratch"),
    "no more files": _full("results", "plainly", "-o", "size=9m,nr_inodes=6"),
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
