"""Steps that try what they may not, in every way that a machine holds them: one run of many attempts for each."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT
from docker_fixtures import PACKAGES

from adapter_build.hermetic import bubblewrap, landlock

STRANGER = 54321  # a user with no name
SYSTEM_PYTHON = "/usr/bin/python3.11"
# As containers and hardened systems have it: no namespace can be made inside.
WITHOUT_NAMESPACES = ("bwrap", "--unshare-user", "--disable-userns", "--cap-drop", "ALL", "--dev-bind", "/", "/")


@dataclass(frozen=True)
class Way:
    """A way to hold a step: the user, the programs that it finds, and what is around the runner."""

    name: str
    ordinary: bool
    bubblewrap: bool
    around: tuple[str, ...] = ()


WAYS = [
    Way(f"{user}-{how}", user == "stranger", how == "bubblewrap", WITHOUT_NAMESPACES if how == "bare" else ())
    for user in ("own", "stranger")
    for how in ("bubblewrap", "landlock", "bare")
]


class Project:
    """A project with the real runner, and what a step of it must not reach."""

    def __init__(self, folder: Path, ordinary: bool) -> None:
        self.folder, self.ordinary = folder, ordinary
        leave = shutil.ignore_patterns("__pycache__", "images.local.lock.yaml")
        for name in ("adapter_build", "scripts", "containers"):
            shutil.copytree(ROOT / name, folder / name, ignore=leave)
        venv = folder / ".venvs/workflow"
        if ordinary:
            subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", venv], check=True)
            shutil.copy(folder / "containers/workflow/requirements.lock", venv)
        else:
            (folder / ".venvs").symlink_to(ROOT / ".venvs")
        (folder / "in.txt").write_text("in ")
        (folder / "undeclared.txt").write_text("more")
        (folder / ".store").mkdir()
        (folder / ".keys").mkdir(mode=0o700)
        (folder / ".keys/builder.pem").write_text("a private key")
        (folder / "programs").mkdir()
        for program in ("git", "sh", "env", "setpriv", "echo", "sleep"):  # and no bwrap
            (folder / "programs" / program).symlink_to(shutil.which(program))
        if ordinary:
            subprocess.run(["chown", "-R", f"{STRANGER}:{STRANGER}", folder], check=True)

    def step(self, script: str, *options: str, way: Way, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script's text as the step `try`; `options` are the runner's."""
        made = self.folder / "scripts/try_it.py"
        made.write_text(script)
        made.chmod(0o644)
        python = SYSTEM_PYTHON if self.ordinary else sys.executable
        command = [python, "-B", "scripts/step.py", "--env", "workflow", "--log", "logs/try.log", *options]
        if not way.bubblewrap:
            variables["PATH"] = str(self.folder / "programs")
        around = [shutil.which(word) or word for word in way.around[:1]] + [*way.around[1:]]
        command = [*around, *command]
        if self.ordinary:
            command = [*as_stranger(), *command]
            variables["PYTHONPATH"] = str(ROOT / ".venvs/workflow/lib/python3.11/site-packages")
        return subprocess.run(
            [*command, "--", "scripts/try_it.py"],
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "OF_THE_SHELL": "a token", **variables},
        )  # fmt: skip


def as_stranger() -> list[str]:
    """Return what runs a command as a user with no name and no power."""
    ids = f"--reuid={STRANGER}", f"--regid={STRANGER}"
    return [
        "setpriv",
        *ids,
        "--clear-groups",
        "--inh-caps=-all",
        "env",
        "-u",
        "USER",
        "-u",
        "LOGNAME",
        "HOME=/nonexistent",
    ]


def needed(way: Way) -> None:
    """Skip where this machine cannot hold a step that way."""
    if (way.bubblewrap or way.around) and not bubblewrap.works():
        pytest.skip("needs bubblewrap: apt-get install bubblewrap")
    if not way.bubblewrap and not landlock.version():
        pytest.skip("needs a kernel with Landlock")
    if way.ordinary:
        if os.geteuid():
            pytest.skip("needs root, who can be anyone")
        site = ROOT / ".venvs/workflow/lib/python3.11/site-packages" / PACKAGES[0]
        if subprocess.run([*as_stranger(), "test", "-r", site], check=False).returncode:
            pytest.skip("this checkout's environment cannot be entered by other users")
