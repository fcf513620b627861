"""A step cannot reach an undeclared file; the message names the declaration, and the twin that declares passes.

Run as an ordinary user, in containers and on the host: root would be let through where a mode says no.
"""

import subprocess
import time

import pytest
from conftest import START
from docker_fixtures import ORDINARY_USER

from adapter_build.hermetic.envelope import read_statement

pytestmark = [pytest.mark.slow, pytest.mark.containers]
READ = START + "text = source.read_text()\n"
END = "copy.write_text(text)\n"
READS = READ + "text += pathlib.Path(arguments.more or 'undeclared.txt').read_text()\n" + END
WRITES = READ + "pathlib.Path(arguments.other or 'in.txt').write_text('changed')\n" + END
OPENS = READ + "import socket; socket.create_connection(('HOST', PORT), 5).close()\n" + END
TAKES = "import find_package; from adapter_build.core.secret import secret\n"
ASKS = READ + TAKES + "text += str(len(secret('HF_TOKEN', required=True)))\n" + END
LOOKS = READ + "text += os.environ['HF_TOKEN']\n" + END


@pytest.fixture(params=["docker", "host"])
def step(request, project, engine, published_workflow, folder):
    """Run a script's text as the ordinary user's step `try`, in one runtime."""
    made = project(f"{request.param}-{time.monotonic_ns()}")
    lock = published_workflow.folder / "containers/images.lock.yaml"
    (made / "containers/images.lock.yaml").write_text(lock.read_text())

    def run(text, *options, **variables):
        (made / "scripts/try_it.py").write_text(text)
        command = [
            "runuser", "--user", ORDINARY_USER, "--", "env", f"PYTHONPATH={made / 'packages'}",
            f"DOCKER_HOST={engine.address}", *(f"{name}={value}" for name, value in variables.items()),
            "/usr/bin/python3.11", "-B", "scripts/step.py", "--runtime", request.param, "--env", "workflow",
            "--log", "logs/try.log", "--memory", "500", "--input", "source", "in.txt",
            "--output", "copy", "results/out.txt", *options, "--", "scripts/try_it.py",
        ]  # fmt: skip
        return subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)

    run.folder = made
    run.runtime = request.param
    run.engine = engine
    return run


def refused(step, done, *parts):
    """Assert one line with the declaration that is missing, and nothing left."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: try: "), done.stderr
    for part in parts:
        assert part in lines[0]
    assert not (step.folder / "results/out.txt").exists()
    assert step.engine.containers() == []


def passed(step, done):
    assert done.returncode == 0, done.stderr + (step.folder / "logs/try.log").read_text()
    attested = read_statement(step.folder / "results/lineage/try.json")
    annotations = attested["predicate"]["runDetails"]["byproducts"][0]["annotations"]
    assert annotations["runtime"] == step.runtime
    assert annotations["isolation"].startswith({"docker": "container", "host": "bubblewrap"}[step.runtime])
    return (step.folder / "results/out.txt").read_text()


def test_an_undeclared_input(step):
    refused(step, step(READS), "undeclared.txt", "--input NAME undeclared.txt")
    assert passed(step, step(READS, "--input", "more", "undeclared.txt")) == "in more"


def test_an_undeclared_output(step):
    refused(step, step(WRITES), "it writes in.txt", "--output NAME")
    assert (step.folder / "in.txt").read_text() == "in "
    assert passed(step, step(WRITES, "--output", "other", "results/other.txt")) == "in "
    assert (step.folder / "results/other.txt").read_text() == "changed"


def test_an_undeclared_connection(step, registry):
    host, _, port = registry.rpartition(":")
    connects = OPENS.replace("HOST", host).replace("PORT", port)
    refused(step, step(OPENS.replace("HOST", "10.1.2.3").replace("PORT", "80")), "--network")
    assert step(connects).returncode == 2, "the machine's own loopback was reached"
    assert passed(step, step(connects, "--network")) == "in "


def test_an_undeclared_secret(step):
    token = "hf_" + "s3cret" * 3
    refused(step, step(ASKS, HF_TOKEN=token), "--secret HF_TOKEN")
    refused(step, step(LOOKS, HF_TOKEN=token), "--secret HF_TOKEN")
    assert passed(step, step(ASKS, "--secret", "HF_TOKEN", HF_TOKEN=token)) == f"in {len(token)}"
    for path in step.folder.rglob("*"):
        if path.is_file() and "packages" not in path.parts:
            assert token.encode() not in path.read_bytes(), path


def test_it_is_the_users_own_and_holds_no_power(step):
    shows = READ + (
        "text = str(os.getuid()) + ' ' + [l for l in open('/proc/self/status') if l.startswith('CapEff')][0]\n" + END
    )
    uid = subprocess.run(["id", "--user", ORDINARY_USER], capture_output=True, text=True, check=True).stdout.strip()
    assert passed(step, step(shows)).split() == [uid, "CapEff:", "0" * 16]
    assert (step.folder / "results/out.txt").owner() == ORDINARY_USER


def test_home_is_there_and_forgotten(step):
    writes = READ + "pathlib.Path(os.environ['HOME'], 'note').write_text('x')\n" + END
    assert passed(step, step(writes)) == "in "
    assert not list(step.folder.rglob("note"))
