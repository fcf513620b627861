"""Isolation that is less than asked for is said: why bubblewrap does not hold steps here, and what mends it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

from adapter_build.hermetic import bubblewrap, landlock_sandbox
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.lineage.guarantees import unconfined

ASKS = "from adapter_build.hermetic.bubblewrap import obstacle, works; print(works()); print(obstacle())"
needs_bubblewrap = pytest.mark.skipif(not bubblewrap.works(), reason="needs bubblewrap: apt-get install bubblewrap")


@pytest.fixture(autouse=True)
def unknown():
    """Ask anew in each test."""
    bubblewrap.obstacle.cache_clear()
    yield
    bubblewrap.obstacle.cache_clear()


def asked(*around: str, **variables: str) -> tuple[str, str]:
    command = [*around, sys.executable, "-B", "-c", ASKS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    works, obstacle = done.stdout.split("\n")[:2]
    return works, obstacle


@needs_bubblewrap
def test_it_works_here():
    assert asked() == ("True", "")


@needs_bubblewrap
def test_where_namespaces_are_forbidden():
    """Really: inside of a sandbox that lets nobody make any, as some systems and containers do."""
    works, obstacle = asked("bwrap", "--unshare-user", "--disable-userns", "--cap-drop", "ALL", "--dev-bind", "/", "/")
    assert works == "False" and obstacle.startswith("bubblewrap may not make namespaces (")
    assert obstacle.endswith("let this machine, or the container that the build runs in, make user namespaces")


def test_where_it_is_not_installed():
    assert asked(PATH="/nowhere") == ("False", "bubblewrap is not installed: apt install bubblewrap")


@pytest.mark.parametrize("number", range(len(bubblewrap.FORBIDDING)))
def test_the_setting_that_forbids_it_is_named(tmp_path, monkeypatch, number):
    """Ubuntu's, Debian's of before, a limit: as this machine has another, files stand in for them."""
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    settings = []
    for place, (path, value, mend) in enumerate(bubblewrap.FORBIDDING):
        (tmp_path / f"{place}").write_text(f"{value}\n" if place == number else "7\n")
        settings.append((str(tmp_path / f"{place}"), value, mend))
        assert path.startswith("/proc/sys/")
    monkeypatch.setattr(bubblewrap, "FORBIDDING", settings)
    said = f"bubblewrap may not make namespaces (setting up uid map: Permission denied): {settings[number][2]}"
    assert bubblewrap.obstacle() == said and not bubblewrap.works()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("#!/bin/sh\nexec sleep 60\n", "bubblewrap does not run (it hangs): reinstall it"),
        ("\x7fELF", "bubblewrap does not run (Exec format error): reinstall it"),
    ],
)
def test_one_that_hangs_or_does_not_start(tmp_path, monkeypatch, program, said):
    (tmp_path / "bwrap").write_text(program)
    (tmp_path / "bwrap").chmod(0o755)
    (tmp_path / "sleep").symlink_to(shutil.which("sleep"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bubblewrap, "SECONDS_TO_TRY", 0.3)
    assert bubblewrap.obstacle() == said


def test_a_gpus_files_are_shown_and_no_other_device(tmp_path, monkeypatch):
    """There is no GPU here: the command line and the rules as they would be."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(bubblewrap, "device_files", lambda: ["/dev/nvidia0", "/dev/nvidiactl"])
    monkeypatch.setattr(landlock_sandbox, "device_files", lambda: ["/dev/nvidia0", "/dev/nvidiactl"])
    (tmp_path / "step").mkdir()
    place = Attempt(tmp_path / "step")
    for devices in (0, 1):
        action = Action(ROOT / "scripts/split_records.py", "workflow", {}, {}, {}, devices=devices)
        words = " ".join(bubblewrap.command(action, place, Path(sys.executable)))
        assert ("--dev-bind /dev/nvidia0 /dev/nvidia0" in words) == bool(devices)
        assert "--dev-bind /dev /dev" not in words and "--cap-drop ALL" in words
        # CUDA writes the names of its threads; the kernel's settings stay read-only.
        assert ("--remount-ro /proc" in words) != ("--ro-bind /proc/sys /proc/sys" in words) == bool(devices)
        assert "--unshare-net --hostname hermetic-step" in words
        landlock_sandbox.command(action, place, Path(sys.executable))
        plan = json.loads((place.root / "confinement.json").read_text())
        rights = dict(map(tuple, plan["rules"]))
        assert ("/dev/nvidia0" in rights) == ("/sys" in rights) == ("/proc/self/task" in rights) == bool(devices)
        assert "/dev" not in rights and "/" not in rights and "/etc" not in rights


def test_what_is_audited_names_steps_that_were_held_less():
    ran = {
        "a": "bubblewrap",
        "b": "container: read-only root",
        "c": "landlock abi 4, left open: x",
        "d": "none",
        "e": "none",
    }
    steps = [SimpleNamespace(name=name, ran={"isolation": held}) for name, held in ran.items()]
    assert list(unconfined(steps)) == [
        ("c", "confined by landlock abi 4, left open: x"), ("2 steps", "not confined to what it declares")
    ]  # fmt: skip
    assert list(unconfined(steps[:2])) == []
