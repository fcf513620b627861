"""The step runner: what it hands to a script, what it refuses, and what is left when a step fails or is killed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2

from adapter_build.core.digests import file_digest
from adapter_build.hermetic import landlock
from adapter_build.hermetic.envelope import read_statement
from adapter_build.hermetic.resume_state import stale_files

ROOT = Path(__file__).parents[3]
BUBBLEWRAP = bool(shutil.which("bwrap"))
COPY = Path(__file__).with_name("copy_words.py").read_text()
KEEPS = Path(__file__).with_name("keep_runs.py").read_text()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the real runner and no rules, in which a test puts the script that it runs."""
    for name in ("adapter_build", "scripts", "containers"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "images.local.lock.yaml")
        )
    (tmp_path / ".venvs").symlink_to(ROOT / ".venvs")
    (tmp_path / "in.txt").write_text("in ")
    return tmp_path


def command(script: str = "copy_text.py", *options: str) -> list[str]:
    """Return a runner's command line for a script with the options of COPY."""
    return [
        sys.executable, "scripts/step.py", "--env", "workflow", "--log", "logs/copy/one.log",
        "--input", "source", "in.txt", "--output", "copy", "results/out.txt", "--param", "word", "a", "b c",
        *options, "--", f"scripts/{script}",
    ]  # fmt: skip


@pytest.fixture
def step(project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script's text as the step `copy/one`."""

    def run(text: str, *options: str) -> subprocess.CompletedProcess[str]:
        (project / "scripts/copy_text.py").write_text(text)
        return subprocess.run(
            command("copy_text.py", *options), cwd=project, capture_output=True, text=True, check=False
        )

    return run


def nothing_half_written(project: Path) -> bool:
    """Tell whether neither output, attestation nor attempt is there."""
    attempts = [path for path in (project / "results").glob(".attempts/*") if path.is_dir()]
    return not attempts and not (project / "results/out.txt").exists() and not (project / "results/lineage").exists()


def test_a_warning_reaches_the_terminal_and_the_rest_the_log(step, project):
    done = step(COPY + "import sys\nprint('warning: 3 of them are odd', file=sys.stderr)\nprint('note: it is so')\n")
    assert done.returncode == 0, done.stderr
    assert "copy/one: warning: 3 of them are odd\n" in done.stderr and "it is so" not in done.stderr
    log = (project / "logs/copy/one.log").read_text()
    assert "warning: 3 of them are odd\n" in log and "note: it is so\n" in log


def test_output_and_attestation(step, project):
    done = step(COPY)
    assert done.returncode == 0, done.stderr
    assert (project / "results/out.txt").read_text() == "in a b c"
    document = read_statement(project / "results/lineage/copy/one.json")
    json_format.ParseDict(document, statement_pb2.Statement())  # pyright: ignore[reportAttributeAccessIssue] - made as protobuf loads it
    assert document["subject"] == [
        {"name": "results/out.txt", "digest": {"sha256": file_digest(project / "results/out.txt")}}
    ]
    dependencies = {
        item["name"]: item["digest"].get("sha256")
        for item in document["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    assert dependencies["in.txt"] == file_digest(project / "in.txt")
    assert dependencies["scripts/copy_text.py"] == file_digest(project / "scripts/copy_text.py")
    assert "containers/workflow/requirements.lock" in dependencies


def test_the_card_and_its_driver_are_attested_and_in_no_key(step, project, tmp_path, monkeypatch):
    """Of a step on a GPU; another says nothing of it. A newer driver makes nothing anew."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    program, keys = tmp_path / "bin/nvidia-smi", []
    for driver in ("580.159.04", "590.1"):
        program.write_text(f"#!/bin/sh\ncase \"$1\" in *=name) echo 'NVIDIA L4' ;; *) echo {driver} ;; esac\n")
        program.chmod(0o755)
        assert step(COPY, "--devices", "1").returncode == 0
        predicate = read_statement(project / "results/lineage/copy/one.json")["predicate"]
        gpu = predicate["runDetails"]["byproducts"][0]["annotations"]["gpu"]
        assert (gpu["card"], gpu["driver"]) == ("NVIDIA L4", driver)
        keys.append(predicate["buildDefinition"]["internalParameters"]["actionKey"])
    assert keys[0] == keys[1]
    assert step(COPY).returncode == 0
    predicate = read_statement(project / "results/lineage/copy/one.json")["predicate"]
    assert "gpu" not in predicate["runDetails"]["byproducts"][0]["annotations"]


def test_bad_input_is_one_line(step, project):
    done = step("import sys; print('warning'); print('error: in.txt: no good', file=sys.stderr); sys.exit(2)")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: copy/one: in.txt: no good (log: logs/copy/one.log)"
    assert "warning" in (project / "logs/copy/one.log").read_text()
    assert nothing_half_written(project)


def test_crash_shows_last_line_only(step, project):
    done = step("raise RuntimeError('lost')")
    assert done.returncode == 2
    assert "ended with exit code 1: RuntimeError: lost" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in (project / "logs/copy/one.log").read_text()
    assert nothing_half_written(project)


def test_missing_output_is_refused(step, project):
    done = step("print('done nothing')")
    assert "results/out.txt: declared as an output but not written" in done.stderr
    assert done.returncode == 2
    assert nothing_half_written(project)


def test_undeclared_output_is_refused(step, project):
    done = step(COPY + "pathlib.Path(arguments.copy).with_name('more.txt').write_text('x')")
    assert "results/more.txt: written but not declared as an output" in done.stderr
    assert done.returncode == 2
    assert nothing_half_written(project)


def test_missing_input_is_refused(step, project):
    (project / "in.txt").unlink()
    done = step(COPY)
    assert "in.txt: declared as an input but missing" in done.stderr
    assert done.returncode == 2


def test_environment_is_an_allow_list(step, project, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "x")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    shows = COPY + (
        "import os; import find_package; from adapter_build.core.secret import secret\n"
        "pathlib.Path(arguments.copy).write_text(repr(dict(os.environ)) + str(secret('HF_TOKEN')))"
    )
    assert step(shows).returncode == 0
    seen = (project / "results/out.txt").read_text()
    assert "SECRET_OF_THE_SHELL" not in seen and "hf_x" not in seen
    assert "'PYTHONHASHSEED': '0'" in seen and "'HF_HUB_OFFLINE': '1'" in seen
    assert step(shows, "--secret", "HF_TOKEN").returncode == 0
    assert "hf_x" in (project / "results/out.txt").read_text()
    assert "hf_x" not in json.dumps(read_statement(project / "results/lineage/copy/one.json"))


def test_without_bubblewrap_the_attestation_says_so(step, project, monkeypatch):
    isolations = []
    for path in (os.environ["PATH"], "/nowhere"):
        monkeypatch.setenv("PATH", path)
        assert step(COPY).returncode == 0
        document = read_statement(project / "results/lineage/copy/one.json")
        isolations.append(document["predicate"]["runDetails"]["byproducts"][0]["annotations"]["isolation"])
    held, without = isolations
    assert held == "bubblewrap" or not shutil.which("bwrap", path=os.defpath)
    assert without.startswith(f"landlock abi {landlock.version()}, left open: " if landlock.version() else "none")


def test_a_checkout_below_tmp_sees_its_own_venv(step, project):
    """/tmp is empty in the sandbox, but for what the step needs of it."""
    (project / ".venvs").unlink()
    venv = project / ".venvs/workflow"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    shutil.copy(project / "containers/workflow/requirements.lock", venv)
    (project / "undeclared.txt").touch()
    looks = COPY + f"assert not pathlib.Path({str(project / 'undeclared.txt')!r}).exists() or not {BUBBLEWRAP}"
    done = step(looks)
    assert done.returncode == 0, done.stderr


def test_stale_venv_is_refused(step, project):
    with open(project / "containers/workflow/requirements.lock", "a") as lock:
        lock.write("# changed\n")
    done = step(COPY)
    assert "not what containers/workflow/requirements.lock says" in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killed_runner_leaves_no_child_and_no_output(project, number):
    (project / "scripts/copy_text.py").write_text(
        "import os, pathlib, time\npathlib.Path(os.environ['TMPDIR'], 'begun').touch()\ntime.sleep(60)"
    )
    mark = uuid.uuid4().hex
    runner = subprocess.Popen(command("copy_text.py", "--param", "mark", mark), cwd=project, stderr=subprocess.PIPE)
    for _ in range(200):
        if list(project.glob("results/.attempts/*/scratch/begun")):
            break
        time.sleep(0.05)
    assert marked(mark) - {runner.pid}, "the script never started"
    runner.send_signal(number)
    runner.wait(20)
    runner.stderr.close()
    deadline = time.monotonic() + 10
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not marked(mark)
    assert not (project / "results/out.txt").exists()
    (project / "scripts/copy_text.py").write_text(COPY)
    again = subprocess.run(command(), cwd=project, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert not [path for path in project.glob("results/.attempts/*") if path.is_dir()]


def test_what_a_step_keeps_outlives_failure_under_its_key(step, project, monkeypatch):
    """A setting is in no key, a param is in it; what was kept goes when that very action has ended well."""
    monkeypatch.setenv("STEP_STORE", ".store")
    kept = project / "results/.kept"
    for fails in ("yes", "dies"):
        assert step(KEEPS, "--keep", "resume", "--setting", "fails", fails).returncode == 2
    left = list(kept.glob("copy.one-*/runs"))
    assert [path.read_text() for path in left] == ["++"]
    other = step(KEEPS, "--keep", "resume", "--param", "word", "other")
    assert other.returncode == 0, other.stderr
    assert "runs: +\n" in (project / "logs/copy/one.log").read_text()
    assert list(kept.glob("copy.one-*/runs")) == left
    assert [*stale_in(project, {"copy/one"})] == left, "it has ended since, as another action"
    again = step(KEEPS, "--keep", "resume")
    assert again.returncode == 0, again.stderr
    assert "runs: +++" in (project / "logs/copy/one.log").read_text()
    assert not list(kept.iterdir()) and (project / "results/out.txt").exists()
    hit = step(KEEPS, "--keep", "resume", "--setting", "fails", "yes")
    assert hit.returncode == 0 and "from the store" in hit.stderr
    assert not list(kept.iterdir())


def test_what_is_kept_is_wanted_until_its_step_has_ended(step, project):
    assert step(KEEPS, "--keep", "resume", "--setting", "fails", "yes").returncode == 2
    assert stale_in(project, {"copy/one"}) == []
    assert [path.name for path in stale_in(project, {"copy/two"})] == ["runs"]


def stale_in(project: Path, steps: set[str]) -> list[Path]:
    """Return what of a project's kept files no step of these wants."""
    with contextlib.chdir(project):
        return [project / path for path in stale_files(steps)]


def test_an_earlier_attempt_that_lives_on_publishes_nothing(project):
    """A job whose node was given up for dead, with settings that have changed since."""
    (project / "scripts/copy_text.py").write_text(
        COPY
        + "import os, time\nhere = pathlib.Path(os.environ['TMPDIR'])\n(here / 'begun').touch()\n"
        + "while arguments.word == ['old'] and not (here / 'go').exists(): time.sleep(0.05)\n"
    )
    zombie = subprocess.Popen(command("copy_text.py", "--param", "word", "old"), cwd=project, stderr=subprocess.PIPE)
    for _ in range(200):
        if begun := list(project.glob("results/.attempts/*/scratch/begun")):
            break
        time.sleep(0.05)
    later = subprocess.run(command("copy_text.py", "--param", "word", "new"), cwd=project, check=False)
    assert later.returncode == 0
    attestation = (project / "results/lineage/copy/one.json").read_text()
    begun[0].with_name("go").touch()
    _, said = zombie.communicate(timeout=30)
    assert zombie.returncode == 0 and b"left to a later attempt" in said, said
    assert (project / "results/out.txt").read_text() == "in new"
    assert (project / "results/lineage/copy/one.json").read_text() == attestation
    assert not [path for path in project.glob("results/.attempts/*") if path.is_dir()]


def test_a_store_that_is_away_is_done_without(step, project, monkeypatch):
    (project / "gone").write_text("a file where the store's folder was")
    monkeypatch.setenv("STEP_STORE", "gone/store")
    done = step(COPY)
    assert done.returncode == 0, done.stderr
    assert "store gone/store cannot be used: Not a directory" in done.stderr
    assert (project / "results/out.txt").exists()


def marked(mark: str) -> set[int]:
    """Return the processes, living ones, that have `mark` on their command line."""
    found = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if mark in (process / "cmdline").read_text(errors="replace"):
                found.add(int(process.name))
    return found
