"""The environment of GPUs: its lock is that for CPUs but for PyTorch, and a build takes it where it asks for GPUs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adapter_build.core.faults import BadInput
from adapter_build.doctor.machine_checks import CUDA_DRIVER
from adapter_build.hermetic.environments import CUDA, ENVIRONMENTS, lock_file, lock_path, needed, tuning

ROOT = Path(__file__).parents[3]
PYTORCH = re.compile(r"torch|triton|nvidia-.*|cuda-.*")  # PyTorch, and what its build for CUDA brings along
OLDEST_DRIVER = {"12": 525, "13": 580}  # of a CUDA release, by NVIDIA's table


def locked(environment: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return version and hashes of each package of a lock."""
    text = (ROOT / lock_path(environment)).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = [
        re.match(r"([a-z0-9][a-z0-9._-]*)={2,3}(\S+)( ;.*)?((?: +--hash=sha256:[0-9a-f]{64})+) *$", line)
        for line in lines
    ]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {match[1]: (match[2], frozenset(match[4].split())) for match in found if match}


@pytest.mark.parametrize("environment", needed(1))
def test_every_package_is_pinned_by_hash(environment):
    assert len(locked(environment)) > 50


def test_the_lock_for_cuda_differs_in_pytorch_alone():
    cpu, cuda = locked("tune"), locked(CUDA)
    assert not [
        name for name in cpu.keys() | cuda.keys() if cpu.get(name) != cuda.get(name) and not PYTORCH.fullmatch(name)
    ]
    assert cuda["torch"][0] == cpu["torch"][0].removesuffix("+cpu")
    assert not cuda["torch"][1] & cpu["torch"][1]
    assert {"triton", "nvidia-cudnn-cu13"} <= cuda.keys() - cpu.keys()
    # `==2.13.0` would take a `+cpu` build of 2.13.0 that the installing machine has at hand.
    assert f"torch==={cuda['torch'][0]} " in (ROOT / lock_path(CUDA)).read_text()


def test_doctor_knows_the_driver_that_the_lock_wants():
    assert OLDEST_DRIVER[locked(CUDA)["nvidia-cuda-runtime"][0].split(".")[0]] == CUDA_DRIVER


def test_which_environments_a_build_needs(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert (tuning(0), tuning(1)) == ("tune", CUDA)
    assert needed(0) == ENVIRONMENTS and set(needed(2)) - set(ENVIRONMENTS) == {CUDA}
    assert str(lock_file(CUDA)) == "containers/tune/requirements.cuda.lock"
    with pytest.raises(BadInput, match=r"requirements\.rocm\.lock: no such environment .*tune, tune\.cuda, workflow"):
        lock_file("tune.rocm")


def test_a_folder_that_no_environment_can_lie_in_is_named(tmp_path):
    folder = tmp_path / "a:b"
    (folder / "containers").mkdir(parents=True)
    (folder / "containers/workflow").symlink_to(ROOT / "containers/workflow")
    command = [sys.executable, "-B", "-m", "adapter_build.cli.install_environment", "workflow"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not (folder / ".venvs").exists()
    message = (
        f"error: {folder}/.venvs/workflow: no environment can be made below a folder with a colon: move the checkout\n"
    )
    assert done.stderr == message
