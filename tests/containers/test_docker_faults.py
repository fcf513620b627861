"""Faults of an engine, a registry, an image, a disk: one clear line each, and nothing left behind."""

import contextlib
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, START
from docker_fixtures import running_registry

from adapter_build.hermetic.images import read_images
from adapter_build.images.image_lock import record_image

pytestmark = [pytest.mark.slow, pytest.mark.containers]
WRITE = START + "copy.write_text(source.read_text())\n"


@pytest.fixture
def step(tmp_path, engine, published_workflow):
    """Run a script's text as the step `try` with runtime docker, in a project of its own."""
    for part in ("adapter_build", "scripts", "containers"):
        shutil.copytree(
            ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "images.local.lock.yaml")
        )
    shutil.copy(published_workflow.folder / "containers/images.lock.yaml", tmp_path / "containers")
    (tmp_path / "in.txt").write_text("in")

    def command(*options):
        return [
            sys.executable, "scripts/step.py", "--runtime", "docker", "--env", "workflow", "--log", "logs/try.log",
            "--input", "source", "in.txt", "--output", "copy", "results/out.txt", *options, "--", "scripts/try_it.py",
        ]  # fmt: skip

    def run(text=WRITE, *options, **variables):
        (tmp_path / "scripts/try_it.py").write_text(text)
        environment = {**engine.environment, **variables}
        return subprocess.run(
            command(*options), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    run.folder, run.command = tmp_path, command
    return run


@pytest.fixture
def image(step):
    """The image of the steps, and a way to put another into the lock."""

    def change(**values):
        lock = step.folder / "containers/images.lock.yaml"
        changed = dataclasses.replace(read_images(lock)["workflow"], **values)
        record_image(lock, changed)
        return changed

    return change


def one_line(done, *parts):
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: try: "), done.stderr
    for part in parts:
        assert part in lines[0], lines[0]


def test_engine_down(step):
    one_line(step(DOCKER_HOST="unix:///nowhere/docker.sock"), "unix:///nowhere/docker.sock", "no such socket", "host")


def test_registry_down(step, image, folder):
    with running_registry(folder / "gone") as address:
        pass
    image(repository=f"{address}/adapter/none", digest=f"sha256:{'1' * 64}", image_id=f"sha256:{'2' * 64}")
    one_line(step(), f"{address}/adapter/none@sha256:1111", "cannot be pulled", "is the registry up?")


def test_unknown_digest(step, image):
    image(digest=f"sha256:{'1' * 64}", image_id=f"sha256:{'2' * 64}")
    one_line(step(), f"sha256:{'1' * 64}", "unknown", "make pin")


def test_no_digest(step, image):
    image(digest=None, image_id=None)
    one_line(step(), "no image of workflow is known by digest", "make images")


def test_image_of_another_lock(step):
    with open(step.folder / "containers/workflow/requirements.lock", "a") as lock:
        lock.write("# changed\n")
    one_line(step(), "was built from another requirements.lock", "make images")


def test_image_for_another_platform(step, image, registry, tmp_path):
    name = f"{registry}/adapter/elsewhere"
    context = tmp_path / "elsewhere"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    built = ["buildah", "build", "--platform", "linux/s390x", "--format", "docker", "--tag", name, context]
    subprocess.run(built, check=True, capture_output=True)
    file = tmp_path / "digest"
    push = ["buildah", "push", "--tls-verify=false", "--digestfile", file, name, f"docker://{name}:latest"]
    subprocess.run(push, check=True, capture_output=True)
    image(repository=name, digest=file.read_text(), image_id=None)
    one_line(step(), "is for linux/s390x, this engine runs linux/amd64")


def test_other_content_under_the_digest(step, image):
    """The lock names both: an engine that has something else under the image's name is not believed."""
    image(image_id=f"sha256:{'3' * 64}")
    one_line(step(), f"not sha256:{'3' * 64}")


def test_disk_full_in_the_output_folder(step):
    attempts = step.folder / "results/.attempts"
    attempts.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", attempts], check=True)
    try:
        one_line(step(START + "copy.write_bytes(bytes(5_000_000))\n"), "No space left", "free some space")
    finally:
        subprocess.run(["umount", attempts], check=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (START, "results/out.txt: declared as an output but not written"),
        (START + "copy.mkdir()\n", "results/out.txt: declared as an output, which is a file, but written as a folder"),
        (START + "copy.symlink_to('/etc/passwd')\n", "but written as a link"),
        (WRITE + "copy.with_name('more').touch()\n", "results/more: written but not declared as an output"),
    ],
    ids=["missing", "folder", "link", "more"],
)
def test_outputs_other_than_declared(step, text, message):
    one_line(step(text), message)
    assert not (step.folder / "results/out.txt").exists()


def test_more_memory_than_its_rule_says(step):
    one_line(step(START + "x = bytearray(300_000_000)\n", "--memory", "100"), "100 MB", "mem_mb")


def test_more_processes_than_it_may(step, engine):
    forks = START + "import threading\nfor _ in range(5000): threading.Thread(target=time.sleep, args=(9,)).start()\n"
    one_line(step(forks), "can't start new thread")
    assert engine.containers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_runner_leaves_no_container(step, engine, number):
    """By TERM and INT at once; after KILL the next step removes it, and a container of anybody else stays."""
    (step.folder / "scripts/try_it.py").write_text(START + "time.sleep(120)\n")
    images = read_images(step.folder / "containers/images.lock.yaml")
    other = engine.docker("create", "--network", "none", images["workflow"].image_id, "true")
    runner = subprocess.Popen(step.command(), cwd=step.folder, env=engine.environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not engine.docker("ps", "--quiet") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert engine.docker("ps", "--quiet"), "the container never started"
        runner.send_signal(number)
        runner.wait(40)
        if number == signal.SIGKILL:
            assert len(engine.containers()) == 2
            assert step().returncode == 0
        assert [identity for identity in engine.containers() if not other.startswith(identity)] == []
        assert len(engine.containers()) == 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            runner.kill()
        engine.docker("rm", "--force", other)
    assert not list((step.folder / "results").glob(".attempts/*/"))


def test_a_secret_is_in_no_inspection(step, engine):
    """Not even in that of its own container, while it runs."""
    (step.folder / "scripts/try_it.py").write_text(START + "time.sleep(5)\ncopy.touch()\n")
    environment = {**engine.environment, "HF_TOKEN": "hf_secret_of_this_test"}
    runner = subprocess.Popen(step.command("--secret", "HF_TOKEN"), cwd=step.folder, env=environment)
    deadline = time.monotonic() + 30
    while not (found := engine.docker("ps", "--quiet")) and time.monotonic() < deadline:
        time.sleep(0.1)
    seen = engine.docker("inspect", found)
    assert runner.wait(60) == 0
    assert "/run/secrets" in seen and "hf_secret_of_this_test" not in seen
    assert json.loads(seen)[0]["HostConfig"]["NetworkMode"] == "none"
