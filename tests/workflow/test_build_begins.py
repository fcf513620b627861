"""Beginning of a build: refused where it cannot write, it says how steps are confined, and plans for GPUs or none."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from adapter_build.hermetic import isolation, landlock
from adapter_build.hermetic.environments import CUDA

pytestmark = pytest.mark.slow


def test_a_build_begins_by_saying_how_steps_are_held_and_that_lineage_has_no_commit(checkout, tmp_path):
    """And with a commit, and no bubblewrap, the other way round."""
    target = "results/raw/records.jsonl"
    done = checkout.snakemake("--quiet", "all", "--", target)
    assert done.returncode == 0, done.stderr
    runtime, lineage, *_ = _said(done)
    assert runtime.startswith(f"  runtime host ({isolation.described()}): ")
    mend = "git clone gives a checkout with its commit"
    assert lineage == f"  lineage has no commit: the checkout is no git repository: {mend}"

    for words in (["init", "-q"], ["add", "scripts"], ["commit", "-q", "-m", "all"]):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *who, *words], cwd=checkout.folder, check=True)
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for program in Path(folder).iterdir():
            if program.name != "bwrap" and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    shutil.rmtree(checkout.folder / "results")
    done = subprocess.run(
        checkout.command("--quiet", "all", "--", target), cwd=checkout.folder, capture_output=True, text=True,
        env={**os.environ, "PATH": str(programs)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    less = f"less isolation, landlock abi {landlock.version()}" if landlock.version() else "no isolation"
    assert _said(done)[0].startswith(f"  runtime host ({less}: bubblewrap is not installed: apt install bubblewrap")
    assert "lineage has no commit" not in done.stderr


def _said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return our own lines, without Snakemake's on the profile that it reads, which `make` leaves out."""
    return [line for line in done.stderr.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--config", "devices=0", "runtime=host"), "tune"),
        (("--config", "devices=1", "runtime=host"), CUDA),
        (("--configfile", "configs/llama-3.1-8b-gpu.yaml"), CUDA),
    ],
)
def test_what_computes_on_gpus_runs_in_it(checkout, arguments, environment):
    """Looked at alone: nothing of it is installed here."""
    done = checkout.snakemake(
        "--workflow-profile", "none", "-n", "--printshellcmds", "--forceall", *arguments, tiny=False
    )
    assert done.returncode == 0, done.stderr
    ran = {script: name for name, script in re.findall(r"--env (\S+) .*-- scripts/(\w+)\.py", done.stdout)}
    assert ran["tune_adapter"] == ran["evaluate_adapter"] == environment
    assert ran["convert_base"] == ran["export_adapter"] == "tune"
    assert (f"adapter_build.cli.install_environment {CUDA}" in done.stdout) == (environment == CUDA)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to other users")
def test_in_a_folder_of_another_user_it_is_refused_in_one_line(checkout):
    """Snakemake's own word of it is a traceback, or with --quiet none."""
    os.chown(checkout.folder, 12345, 12345)
    without_power = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    command = [*without_power, *checkout.command("--quiet", "all", "--dry-run", "--", "results/raw/records.jsonl")]
    done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: {checkout.folder}: not writable for uid 0" in done.stderr.splitlines()[-1], done.stderr
