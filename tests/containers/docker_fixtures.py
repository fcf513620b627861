"""A real Docker Engine and a real registry on loopback, started and stopped here, and the project's images in it."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, Checkout
from skipped import wanting

PROGRAMS = ("dockerd", "docker-registry", "skopeo", "buildah", "mmdebstrap", "bwrap")
# For work on these tests: a folder that keeps engine, registry and images from one run to the next.
KEPT = os.environ.get("CONTAINERS_FOLDER")
ORDINARY_USER = "nobody"  # every Debian has it, and it owns nothing


@dataclass(frozen=True)
class Engine:
    """A running Docker Engine and what makes a command talk to it."""

    address: str
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a command."""
        return {**os.environ, "DOCKER_HOST": self.address}

    def docker(self, *arguments: str) -> str:
        """Return what the docker command prints."""
        return subprocess.run(
            ["docker", *arguments], env=self.environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    def containers(self) -> list[str]:
        """Return the ids of all containers, also of those that have ended."""
        return self.docker("ps", "--all", "--quiet").split()


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that other users may enter, which pytest's own are not."""
    if reason := wanting(*PROGRAMS):
        pytest.skip(reason)
    if os.getuid():
        pytest.skip("needs root, for a Docker Engine of its own")
    if KEPT:
        Path(KEPT).mkdir(exist_ok=True)
        yield Path(KEPT)
        return
    made = Path(tempfile.mkdtemp(prefix="containers-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def engine(folder: Path) -> Iterator[Engine]:
    """Start dockerd; stop it by its pid."""
    with running_engine(folder / "engine") as started:
        yield started


@contextlib.contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    """Start dockerd with everything of its own in `folder`."""
    folder.mkdir(exist_ok=True)
    socket_file = folder / "docker.sock"
    command = [
        "dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec", "--host", f"unix://{socket_file}",
        "--pidfile", folder / "pid", "--bridge=none", "--iptables=false", "--ip6tables=false", "--log-level=error",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT)
        try:
            started = Engine(f"unix://{socket_file}", process)
            wait_until(lambda: socket_file.exists() and started.docker("version"), (folder / "log").read_text)
            socket_file.chmod(0o666)  # for the ordinary user
            yield started
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def running_registry(folder: Path) -> Iterator[str]:
    """Start a registry; give its host and port."""
    folder.mkdir(exist_ok=True)
    port = folder / "port"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(port.read_text()) if port.exists() else 0))
        port.write_text(str(probe.getsockname()[1]))
    address = f"127.0.0.1:{port.read_text()}"
    (folder / "registry.yml").write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\nhttp: {{addr: '{address}'}}\n"
    )
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "registry.yml")], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_until(
                lambda: urllib.request.urlopen(f"http://{address}/v2/").status == 200, (folder / "log").read_text
            )
            yield address
        finally:
            process.terminate()
            process.wait(30)


def wait_until(ready: Callable[[], object], log: Callable[[], str], seconds: float = 30) -> None:
    """Return once `ready` is true and raises nothing; fail with the log after half a minute, or as many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            if ready():
                return
        time.sleep(0.1)
    raise AssertionError(log())


@pytest.fixture(scope="session")
def registry(folder: Path) -> Iterator[str]:
    """A registry on loopback."""
    with running_registry(folder / "registry") as address:
        yield address


@pytest.fixture(scope="session")
def published(folder: Path, engine: Engine, registry: str, tiny_base: Path) -> Checkout:
    """A checkout in which `make images REGISTRY=…` has built all four images and put them into the registry."""
    return _published(folder, engine, registry, tiny_base)


@pytest.fixture(scope="session")
def published_workflow(request: pytest.FixtureRequest) -> Checkout:
    """The same with the small image `workflow` alone, unless a test of this run needs the others too."""
    if any("published" in getattr(item, "fixturenames", ()) for item in request.session.items):
        return request.getfixturevalue("published")
    given = (request.getfixturevalue(name) for name in ("folder", "engine", "registry", "tiny_base"))
    return _published(*given, "ENVIRONMENT=workflow")


def _published(folder: Path, engine: Engine, registry: str, tiny_base: Path, *options: str) -> Checkout:
    made = Checkout(folder / "checkout")
    lock, before = made.folder / "containers/images.lock.yaml", folder / "images.lock.yaml"
    for left in ("results", ".snakemake", ".venvs"):  # by an earlier run, where the folder is kept
        with contextlib.suppress(OSError):
            (made.folder / left).unlink() if left == ".venvs" else shutil.rmtree(made.folder / left)
    made.folder.mkdir(exist_ok=True)
    made.fill()
    shutil.copytree(tiny_base, made.folder / "tests/tiny/base", dirs_exist_ok=True)
    if before.exists():
        shutil.copy(before, lock)
        return made
    done = subprocess.run(
        ["make", "images", f"REGISTRY={registry}/adapter", *options],
        cwd=made.folder, env=engine.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + (made.folder / "logs/images.log").read_text()[-3000:]
    if not options:
        shutil.copy(lock, before)
    return made


@pytest.fixture(scope="session")
def project(folder: Path) -> Callable[[str], Path]:
    """Make a project with the real runner, an ordinary user's, in which a test puts the script that it runs."""

    def make(name: str) -> Path:
        made = folder / name
        for part in ("adapter_build", "scripts", "containers"):
            shutil.copytree(
                ROOT / part, made / part, ignore=shutil.ignore_patterns("__pycache__", "images.local.lock.yaml")
            )
        venv = made / ".venvs/workflow"
        # Of the system's Python, which that user may run; the step scripts of these tests need no package.
        subprocess.run(["/usr/bin/python3.11", "-m", "venv", "--without-pip", venv], check=True)
        shutil.copy(made / "containers/workflow/requirements.lock", venv)
        for package in PACKAGES:
            source = ROOT / ".venvs/workflow/lib/python3.11/site-packages" / package
            shutil.copytree(
                source,
                made / "packages" / package,
                ignore=shutil.ignore_patterns("__pycache__", "images.local.lock.yaml"),
            )
        (made / "in.txt").write_text("in ")
        (made / "undeclared.txt").write_text("more")
        subprocess.run(["chown", "--recursive", f"{ORDINARY_USER}:", made], check=True)
        return made

    return make


# What scripts/step.py imports, for the runner of an ordinary user who may not enter this checkout's environments.
PACKAGES = ("docker", "requests", "urllib3", "charset_normalizer", "idna", "certifi", "tqdm", "yaml")
