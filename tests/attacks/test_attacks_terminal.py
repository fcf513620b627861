"""A foreign name or text does nothing to a terminal, a log or a command. Ordinary text of any script stays."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml
from attack_table import Attack, every
from conftest import ROOT, START
from held_steps_of import Project
from loopback_server import Quiet, serving
from refusing_machines import OWN

from adapter_build.core.printable import UNSAFE

BEGINNING = (
    START + "import sys, find_package\nfrom adapter_build.core.faults import BadInput, run\ncopy.write_text('x')\n"
)
FILES = ("--input", "source", "in.txt", "--output", "copy", "results/out.txt")
PLAIN = "Mietkürzung 敷金 🏠 العربية"


def said(command: list[str], cwd: Path = ROOT, **variables: str) -> str:
    """Return all that a program prints, and assert that it ends as programs end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **variables}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False)
    assert done.returncode in (0, 1, 2), done.stderr
    return (done.stdout + done.stderr).decode(errors="surrogateescape")


def step(place: Path, body: str) -> tuple[str, str]:
    """Return what the runner prints and what the log holds of a step with such a body."""
    project = Project(place / "project", ordinary=False)
    done = project.step(BEGINNING + body, *FILES, way=OWN)
    return done.stdout + done.stderr, (project.folder / "logs/try.log").read_bytes().decode()


def missing(name: str) -> Callable[[Path], str]:
    """Return the maker of a step with an input of that name, which is not there."""
    command = [sys.executable, "-B", str(ROOT / "scripts/step.py"), "--env", "workflow", "--log", "logs/try.log"]
    files = ["--input", "source", name, "--output", "copy", "results/out.txt", "--", str(ROOT / "scripts/step.py")]

    def made(place: Path) -> str:
        (place / "containers").symlink_to(ROOT / "containers")
        return said([*command, *files], cwd=place)

    return made


def verified(name: str) -> Callable[[Path], str]:
    """Return the maker of an audit of a results folder in which somebody left a file of that name."""

    def made(place: Path) -> str:
        (place / "results/lineage").mkdir(parents=True)
        (place / "results" / name).write_text("x")
        shutil.copy(ROOT / "config.yaml", place)
        return said([sys.executable, "-B", "-m", "adapter_build.cli.audit", "verify"], cwd=place)

    return made


def asked(answer: str, status: int = 200) -> Callable[[Path], str]:
    """Return the maker of a question to a server that answers so."""

    class Hostile(Quiet):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            choice = {"index": 0, "text": answer, "finish_reason": None}
            chunk = {"id": "x", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]}
            body = (
                f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
                if status == 200
                else json.dumps({"error": {"message": answer}})
            )
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if status == 200 else "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

    def made(_place: Path) -> str:
        handler: type[BaseHTTPRequestHandler] = Hostile
        with serving(handler) as server:
            url = f"http://127.0.0.1:{server.server_port}"
            return said([sys.executable, "-B", "-m", "adapter_build.cli.ask", "--url", url, "--", "May he?"])

    return made


def configured(path: str) -> Callable[[Path], str]:
    """Return the maker of a configuration with such a data.path."""

    def made(place: Path) -> str:
        overlay = place / "overlay.yaml"
        overlay.write_text(yaml.safe_dump({"data": {"source": "file", "path": path}}))
        return said([sys.executable, "-B", "-m", "adapter_build.cli.doctor", "--config", "config.yaml", str(overlay)])

    return made


def drawn(lay: Callable[[Path, Path], None]) -> Callable[[Path], str]:
    """Return the maker of a status line on a terminal, whose place for locks somebody prepared with `lay`."""

    def made(place: Path) -> str:
        victim = place / "of others"
        victim.write_text("whole")
        shared = place / "tmp"
        shared.mkdir()
        shared.chmod(0o1777)
        mine, terminal = pty.openpty()
        name = os.ttyname(terminal).replace("/", "-")
        lay(shared / f"adapter-build-{os.geteuid()}", victim)
        (shared / f"status-line-{os.getuid()}{name}.lock").symlink_to(victim)  # where it was
        folder = shared / f"adapter-build-{os.geteuid()}"
        if folder.is_dir() and not folder.is_symlink():
            (folder / f"status-line{name}.lock").symlink_to(victim)
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(shared), "XDG_RUNTIME_DIR": str(place / "none")
        }  # fmt: skip
        command = [sys.executable, Path(__file__).with_name("draw_status.py")]
        done = subprocess.run(command, env=environment, stderr=terminal, check=False)
        os.close(terminal)
        shown = os.read(mine, 4096).decode()
        os.close(mine)
        assert done.returncode == 0 and "done" in shown and "\x1b[31m" not in shown, shown
        return f"the file of others is {victim.read_text() or 'cut short'}"

    return made


def _open(folder: Path, _victim: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


MADE: dict[str, Callable[[Path], str]] = {
    "an input's name": missing("a\x1b[2J\x1b]0;owned\x07.txt"),
    "a second line in a name": missing("fine\nerror: nothing is wrong.txt"),
    "a name that is no text": missing(os.fsdecode(b"latin-\xe9.txt")),
    "a warning of a step": lambda place: step(place, "print('warning: \\x1b[8mhidden\\u202e')\n")[0],
    "an error of a step": lambda place: step(place, "def no(): raise BadInput('\\x9b31m')\nrun(no)\n")[0],
    "a step's log": lambda place: step(place, "sys.stdout.buffer.write(b'\\x1b[2J in the log\\n')\n")[1],
    "a traceback": lambda place: step(place, "def no(): raise ValueError('\\x1b]52;c;YXR0YWNr\\x07')\nrun(no)\n")[1],
    "a stranger's file in results": verified("x\x1b[1A\nresults: all holds"),
    "a stranger's command": verified("a b; touch owned"),
    "an option of rm": verified("*"),
    "a model's answer": asked("a\x1b[2J\x1b]8;;http://x\x07b\u202ec"),
    "a server's refusal": asked("no\x1b[31m such model", 404),
    "a path in the configuration": configured("posts\x9b31m.json"),
    "a turned path in the configuration": configured("posts\u202enosj.exe"),
    "an unknown option": lambda _: said(
        [sys.executable, "-B", "-m", "adapter_build.cli.audit", "verify", "--x\x1b[31m"]
    ),
    "a lock that is a link": drawn(lambda folder, _: folder.mkdir(mode=0o700)),
    "a folder of locks that is a link": drawn(lambda folder, victim: folder.symlink_to(victim.parent)),
    "a folder of locks that is open": drawn(_open),
}


@every("terminal")
def test_nothing_steers_the_terminal(attack: Attack, tmp_path: Path):
    text = MADE[attack.name](tmp_path)
    assert any(re.search(attack.says, line) for line in text.splitlines()), text
    assert not [found for found in UNSAFE.findall(text) if found not in "\n\t"], repr(text)
    assert "Traceback" not in text or attack.name == "a traceback"


@pytest.mark.parametrize("kind", ["missing", "verified", "asked", "step"])
def test_ordinary_text_stays_as_it_is(kind, tmp_path):
    """The twin: letters of any script, emoji, quotes."""
    if kind == "step":
        told, log = step(tmp_path, f"print('warning: {PLAIN}')\n")
        assert f"try: warning: {PLAIN}" in told and f"warning: {PLAIN}" in log
        return
    made = {"missing": missing(f"{PLAIN}.txt"), "verified": verified(PLAIN), "asked": asked(PLAIN)}[kind]
    assert PLAIN in made(tmp_path)
