"""Small images that stand in for NIM's, in the tests' registry: this machine's Python and stand_in_nim.py."""

import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docker_fixtures import Engine
from loopback_server import Quiet, serving

PYTHON = Path("/usr/bin/python3.11")
LIBRARY = Path("/usr/lib/python3.11")
LEFT_OUT = re.compile(r"/(test|tests|dist-packages|__pycache__|config-3\.11[^/]*|idlelib|lib2to3|ensurepip)(/|$)")
STAND_IN = Path(__file__).with_name("stand_in_nim.py")


class NimImages:
    """Makes an image per fault and pushes it; its reference is by digest."""

    def __init__(self, engine: Engine, registry: str) -> None:
        self._engine, self._prefix = engine, f"{registry}/nim/tests/tiny-random-llama"
        self._base = "localhost/stand-in:base"
        archive = _archive()
        subprocess.run(
            ["docker", "import", "--change", 'ENTRYPOINT ["/usr/bin/python3.11", "-B", "/nim.py"]', "-", self._base],
            env=engine.environment, input=archive, capture_output=True, check=True,
        )  # fmt: skip
        self._made: dict[str, str] = {}

    def __call__(self, fault: str = "") -> str:
        """Return repository@sha256:… of the image in which `fault` happens; the engine itself no longer has it."""
        if fault not in self._made:
            docker, name = self._engine.docker, f"{self._prefix}:{fault or 'good'}"
            container = docker("create", self._base)
            docker("commit", "--change", f"ENV STAND_IN={fault}", container, name)
            docker("rm", container)
            pushed = re.search(r"digest: (sha256:\w+)", docker("push", name))
            docker("rmi", name)
            self._made[fault] = f"{self._prefix}@{pushed[1]}"
        return self._made[fault]


def _archive() -> bytes:
    """Return a tar of what that Python needs to serve HTTP."""
    linked = [PYTHON, *LIBRARY.glob("lib-dynload/*.so")]
    said = subprocess.run(["ldd", *linked], capture_output=True, text=True, check=True).stdout
    libraries = {Path(path) for path in re.findall(r"(/\S+\.so\S*) \(0x", said)}
    folder = io.BytesIO()
    with tarfile.open(fileobj=folder, mode="w") as tar:
        for name in ("tmp", "opt/engine", "opt/nim/.cache", "home/nvs/loras"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777 if name in ("tmp", "opt/engine") else 0o755
            tar.addfile(entry)
        tar.add(PYTHON, str(PYTHON)[1:])
        tar.add(LIBRARY, str(LIBRARY)[1:], filter=lambda entry: None if LEFT_OUT.search(f"/{entry.name}") else entry)
        for path in sorted(libraries):
            tar.add(path.resolve(), str(path)[1:])
        tar.add(STAND_IN, "nim.py")
    return folder.getvalue()


@contextmanager
def refusing_registry(status: int, message: str = "") -> Iterator[str]:
    """Serve a registry on loopback that refuses images with `status`, in NGC's words or none; give its address."""

    class Refuses(Quiet):
        def do_GET(self) -> None:
            code = "UNAUTHORIZED" if status == 401 else "DENIED"
            body = json.dumps({"errors": [{"code": code, "message": message}]}).encode() if message else b""
            self.send_response(200 if self.path == "/v2/" else status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

    with serving(Refuses) as server:
        yield f"127.0.0.1:{server.server_port}"


def processes_show(text: str) -> bool:
    """Tell if any process of this machine has `text` in its command line."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if line.parent.name != str(os.getpid()) and text.encode() in line.read_bytes():
                return True
        except OSError:  # it ended meanwhile
            continue
    return False
