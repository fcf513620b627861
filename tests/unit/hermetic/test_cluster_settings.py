"""A rule's resources of a scheduler, and the settings that a job takes over from the build that sent it."""

from pathlib import Path

import pytest
import yaml

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.action import name_of
from adapter_build.hermetic.environments import ENVIRONMENTS
from adapter_build.hermetic.runtime import Runtime
from adapter_build.workflow.exclusive_build import end_leftover_jobs
from adapter_build.workflow.rule_options import asked_of_slurm, raised_by_retry

ROOT = Path(__file__).parents[3]


def test_what_is_tried_again_asks_for_more():
    asked = raised_by_retry(mem_mb=1500, runtime=10)
    assert [asked["mem_mb"](None, attempt=attempt) for attempt in (1, 2, 3)] == [1500, 3000, 4500]
    assert [asked["runtime"](None, attempt=attempt) for attempt in (1, 2, 3)] == [10, 20, 30]


def test_nodes_are_asked_for_where_a_job_has_several():
    assert (asked_of_slurm(1), asked_of_slurm(3)) == ({}, {"nodes": 3, "tasks": 3})


def test_a_job_runs_in_the_runtime_of_its_build(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("STEP_RUNTIME", "docker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert Runtime("auto", ENVIRONMENTS, sent=True).name == "docker"
    assert Runtime("auto", ENVIRONMENTS).name == "host"
    monkeypatch.delenv("STEP_RUNTIME")
    assert Runtime("host", ENVIRONMENTS, sent=True).name == "host"
    with pytest.raises(BadInput):
        Runtime("docker", ENVIRONMENTS, sent=True)


def test_a_file_in_a_storage_keeps_its_name():
    assert name_of(Path(".snakemake/storage/s3/adapters/build/results/raw/x")) == Path("results/raw/x")
    assert name_of(Path("results/raw/x")) == Path("results/raw/x")
    assert name_of(Path("/data/results/x")) == Path("/data/results/x")


def test_without_slurm_there_are_no_leftover_jobs(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("PATH", str(tmp_path))
    end_leftover_jobs()
    (tmp_path / "squeue").write_text("#!/bin/sh\nexit 1\n")  # its controller is down
    (tmp_path / "squeue").chmod(0o755)
    end_leftover_jobs()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("profile", ["default", "slurm", "kubernetes"])
def test_every_profile_keeps_what_the_runner_relies_on(profile):
    settings = yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())
    assert settings["rerun-incomplete"] is True and settings["nolock"] is True
