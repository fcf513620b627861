"""Engines of other kinds, real ones: an ordinary user's without root, one that remaps users, the usual one with groups.

A step's files outside are the user's own in each; its twin, blind to the engine's kind, cannot write them.
"""

import io
import os
import pwd
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_fixtures import ORDINARY_USER, Engine, wait_until
from nim_images import _archive
from skipped import wanting

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.access import let_others_read
from adapter_build.hermetic.envelope import read_statement
from adapter_build.hermetic.environments import lock_digest
from adapter_build.hermetic.images import Image
from adapter_build.images.image_lock import record_image
from adapter_build.nim.container import check_layout

pytestmark = [pytest.mark.slow, pytest.mark.containers]
USER = pwd.getpwnam(ORDINARY_USER)
GROUP = 7654  # one that the ordinary user is lent
COPY = Path(__file__).with_name("copy_text.py")
LENT = Path(__file__).with_name("lend_users.sh")
DOCKERD = (
    "dockerd --data-root {folder}/data --exec-root {folder}/run/exec --host unix://{folder}/run/docker.sock"
    " --pidfile {folder}/run/pid --bridge=none --ip-forward=false --iptables=false --ip6tables=false"
    " --storage-driver overlay2 --log-level error"
)
ROOTLESS = (
    "setpriv --reuid {uid} --regid {gid} --clear-groups env HOME={folder} XDG_RUNTIME_DIR={folder}/run"
    " rootlesskit --net=host --copy-up=/etc --copy-up=/run --state-dir={folder}/rootlesskit"
    " sh -c 'rm -f /run/docker /run/containerd; exec {dockerd} --rootless'"
)


def start(folder: Path, command: str) -> Iterator[Engine]:
    """Start an engine whose containers' users have numbers of their own; end it by its pid."""
    if reason := wanting("rootlesskit", "newuidmap", "setpriv"):
        pytest.skip(reason)
    for part in (folder, folder / "run"):
        part.mkdir()
        os.chown(part, USER.pw_uid, USER.pw_gid)
    (folder / "subid").write_text(f"{ORDINARY_USER}:300000:65536\n")
    lent = ["unshare", "--mount", "sh", LENT, folder / "subid", "sh", "-c", f"exec {command}"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(lent, stdout=log, stderr=subprocess.STDOUT)
        try:
            engine = Engine(f"unix://{folder}/run/docker.sock", process)
            wait_until(lambda: engine.docker("version"), (folder / "log").read_text)
            (folder / "run/docker.sock").chmod(0o666)
            yield engine
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def rootless(folder: Path) -> Iterator[Engine]:
    """An engine that the ordinary user started."""
    place = folder / "rootless"
    dockerd = DOCKERD.format(folder=place)
    yield from start(place, ROOTLESS.format(folder=place, uid=USER.pw_uid, gid=USER.pw_gid, dockerd=dockerd))


@pytest.fixture(scope="module")
def remapping(folder: Path) -> Iterator[Engine]:
    """An engine of root's that gives its containers other users."""
    place = folder / "remapping"
    yield from start(place, f"{DOCKERD.format(folder=place)} --userns-remap {USER.pw_uid}:{USER.pw_gid}")


@pytest.fixture(scope="module")
def image() -> bytes:
    """A tar of this machine's Python, where the environments' images have theirs."""
    archive = io.BytesIO(_archive())
    with tarfile.open(fileobj=archive, mode="a") as tar:
        for name in (
            "opt",
            "opt/env",
            "opt/env/bin",
            "usr",
            "usr/bin",
            "usr/lib",
            "lib",
            "lib/x86_64-linux-gnu",
            "lib64",
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        link = tarfile.TarInfo("opt/env/bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin/python3.11"
        tar.addfile(link)
    return archive.getvalue()


@pytest.fixture
def step(project, image, monkeypatch, tmp_path_factory):
    """Run the step `try` as the ordinary user on an engine; with `blind` the engine's kind is not looked at."""
    made = project(tmp_path_factory.mktemp("kind").name)

    def run(engine: Engine, blind: bool = False, groups: tuple[int, ...] = ()) -> tuple[Path, str]:
        identity = subprocess.run(
            ["docker", "import", "-", "localhost/python:test"],
            env=engine.environment, input=image, capture_output=True, check=True,
        ).stdout.decode().strip()  # fmt: skip
        monkeypatch.chdir(made)
        record_image(
            Path("containers/images.local.lock.yaml"),
            Image("workflow", "localhost/python", identity, identity, lock=lock_digest("workflow")),
        )
        (made / "scripts/try_it.py").write_text(COPY.read_text())
        if blind:
            module = made / "adapter_build/hermetic/engine_kind.py"
            module.write_text(module.read_text().replace("    info = client.info()\n", "    return USUAL\n"))
        if groups:
            os.chown("in.txt", 0, groups[0])
            Path("in.txt").chmod(0o640)
        lent = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
        command = [
            "setpriv", "--reuid", str(USER.pw_uid), "--regid", str(USER.pw_gid), *lent, "env",
            f"PYTHONPATH={made / 'packages'}", f"DOCKER_HOST={engine.address}",
            "/usr/bin/python3.11", "-B", "scripts/step.py", "--runtime", "docker", "--env", "workflow",
            "--log", "logs/try.log", "--memory", "500", "--input", "source", "in.txt",
            "--output", "copy", "results/out.txt", "--", "scripts/try_it.py",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 2) and "Traceback" not in done.stderr, done.stderr
        return made, done.stderr if done.returncode else ""

    return run


def made_by_the_user(project: Path, *told: str) -> None:
    """Assert that the output is there, the user's own, and what its attestation says of the engine."""
    assert (project / "results/out.txt").read_text() == "in copied"
    assert (project / "results/out.txt").stat().st_uid == USER.pw_uid
    run = read_statement(project / "results/lineage/try.json")["predicate"]["runDetails"]["byproducts"][0]
    for part in told:
        assert part in run["annotations"]["isolation"]


def test_a_rootless_engine_runs_a_step_as_its_user(step, rootless):
    project, fault = step(rootless)
    assert not fault
    made_by_the_user(project, "rootless engine", "memory not bounded")
    _, fault = step(rootless, blind=True)
    assert fault, "as a number of its own it could write the user's files"


def test_a_rootless_engine_lends_no_group(step, rootless):
    """It would be a file that is there and cannot be read: said before the step, with the mend."""
    project, fault = step(rootless, groups=(GROUP,))
    assert fault.startswith(f"error: try: {project}/in.txt: not readable for the step, which runs as uid ")
    assert f"(mode 640, of uid 0): chmod o+r {project}/in.txt" in fault and fault.count("\n") == 1


def test_the_usual_engine_lends_the_users_groups(step, engine):
    project, fault = step(engine, groups=(GROUP,))
    assert not fault
    made_by_the_user(project, "no network")


def test_an_engine_that_remaps_users_leaves_a_steps_as_they_are(step, remapping):
    project, fault = step(remapping)
    assert not fault
    made_by_the_user(project, "users not remapped for steps")
    _, fault = step(remapping, blind=True)
    assert fault, "as another user it could write the user's files"


@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_nims_user_reads_what_others_may_read_whatever_lies_above(engine, image, folder, umask):
    """The check says what the kernel says: of the store and the adapter, not of the folders above."""
    subprocess.run(
        ["docker", "import", "-", "localhost/python:test"], env=engine.environment, input=image, check=True,
        capture_output=True,
    )  # fmt: skip
    top = folder / f"umask-{umask:o}"
    code = (
        "import os, pathlib; os.umask({}); law = pathlib.Path({!r}); law.mkdir(parents=True);"
        "[(law / name).write_text('x') for name in ('adapter_config.json', 'adapter_model.safetensors')]"
    )
    law = top / "results/loras/law"
    law.parents[1].mkdir(parents=True)
    top.chmod(0o700)
    subprocess.run(["python3", "-c", code.format(umask, str(law))], check=True)

    def read() -> bool:
        reads = "print(len(open('/s/law/adapter_model.safetensors').read()))"
        command = [
            "docker", "run", "--rm", "--user", "1000:1000", "--cap-drop", "ALL", "--network", "none",
            "--volume", f"{law.parent}:/s:ro", "localhost/python:test", "/usr/bin/python3.11", "-c", reads,
        ]  # fmt: skip
        return subprocess.run(command, env=engine.environment, capture_output=True, check=False).returncode == 0

    with pytest.raises(BadInput, match="not readable for uid 1000, which NIM runs as"):
        check_layout(2, law)
    assert not read()
    let_others_read(law)
    check_layout(2, law)
    assert read() and top.stat().st_mode & 0o777 == 0o700
