"""The README's commands: each is one that there is. `make` and `make serve` run for real in test_embedded_job, `make
images` in tests/containers; here every other one is asked what it would do."""

import re
import shutil
import subprocess

import pytest
from conftest import ROOT

TEXT = (ROOT / "README.md").read_text()
COMMANDS = sorted(
    {line.strip() for line in TEXT.splitlines() if re.match(r"    (make|snakemake)\b", line)}
    | set(re.findall(r"`((?:make|snakemake) [^`]+)`", TEXT))
)


def test_there_are_commands():
    assert {"make", "make test", "snakemake -n", "make images", "make pin CHECK=1", "make serve"} <= set(COMMANDS)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make")])
def test_make_knows_the_target(command):
    done = subprocess.run(f"{command} --dry-run", shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("snakemake")])
def test_snakemake_takes_the_command(command, checkout):
    """In a shell that has activated the workflow environment, as the README says."""
    activate = re.search(r"`(\. \.venvs/\S+)`", TEXT)[1]
    done = subprocess.run(
        ["bash", "-c", f"{activate} && {command} --dry-run --quiet all"],
        cwd=checkout.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "law-stackexchange" in command:  # its data is not pinned in this checkout, which is said before any step
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr
    else:
        assert done.returncode == 0, done.stderr


# Where the README's examples lie in this test.
PLACES = (("/mnt/adapters", "elsewhere"), (" builder.pub.pem", " .keys/builder.pub.pem"), ("../before/", "./"))
AUDITS = [
    line.strip()
    for line in TEXT.splitlines()
    if re.match(r"    (make audit|\.venvs/workflow/bin/model_signing)\b", line)
]


@pytest.mark.slow
@pytest.mark.parametrize("command", AUDITS)
def test_a_build_answers_the_audits_questions(command, copy_of_built):
    for name, here in PLACES:
        command = command.replace(name, here)
    shutil.copytree(copy_of_built.folder / "results/loras", copy_of_built.folder / "elsewhere")
    done = subprocess.run(
        ["bash", "-c", command], cwd=copy_of_built.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and (done.stdout + done.stderr).strip(), done.stderr


def test_paths_are_there():
    for path in set(
        re.findall(
            r"`((?:adapter_build|scripts|containers|schemas|rules|configs|profiles|deploy|tests|bench)/[^`<*]*)`", TEXT
        )
    ):
        assert (ROOT / path).exists() or path.endswith("images.local.lock.yaml"), path
