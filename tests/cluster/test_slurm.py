"""The chain as Slurm jobs: each step where its resources send it, the bytes those of a build on one machine."""

import re
import shutil

import pytest
from conftest import STORE
from slurm_fixtures import PROFILE

from adapter_build.hermetic.envelope import read_statement
from adapter_build.hermetic.environments import CUDA

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_the_tiny_chain_in_jobs(cluster, checkout, built):
    done = checkout.snakemake(*PROFILE, "--", *STORE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.digests() == built.digests()
    jobs = cluster.jobs()
    assert {job["state"] for job in jobs.values()} == {"COMPLETED"}
    lineage = checkout.folder / "results/lineage"
    ran_in = {str(path.relative_to(lineage)): _job(path) for path in lineage.rglob("*.json")}
    assert len(ran_in) == len(list((built.folder / "results/lineage").rglob("*.json")))
    assert set(ran_in.values()) == set(jobs), "a step that ran in no job, or a job that ran no step"
    assert ran_in["curate_split/train.json"] == ran_in["curate_split/val.json"] == ran_in["collect_ledger.json"]
    assert ran_in["tune_adapter/law-titlegen.json"] not in (ran_in["split_records.json"], ran_in["acquire_raw.json"])


def test_a_step_that_asks_for_a_gpu_goes_where_one_is(cluster, copy_of_built):
    """Scheduling alone: n3's GPU is a pretended one, and the step says that no driver answers.

    So is the environment for GPUs, which is never installed here: a marker says that it is there.
    """
    venvs = copy_of_built.folder / ".venvs"
    there = list(venvs.resolve().iterdir())
    venvs.unlink()
    venvs.mkdir()
    for path in there:
        if path.is_dir():
            (venvs / path.name).symlink_to(path)
        else:
            shutil.copy2(path, venvs)
    (venvs / f"{CUDA}.ready").touch()
    done = copy_of_built.snakemake(
        *PROFILE, "--config", "devices=1", "--retries", "0", "--forcerun", "tune_adapter",
        "--", "results/checkpoints/law-titlegen.nemo",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    (number,) = cluster.jobs()
    job = cluster.ask("scontrol", "show", "job", number)
    assert re.search(r"Partition=gpu\b", job) and re.search(r"\bNodeList=n3\b", job) and "gres:gpu:1" in job, job
    said = "\n".join(path.read_text() for path in (copy_of_built.folder / "logs/slurm").rglob("*.log"))
    assert "it needs GPUs, but nvidia-smi does not answer" in said


def test_light_steps_run_where_snakemake_runs(cluster, checkout):
    local = '["environment", "acquire_raw"]'
    done = checkout.snakemake(*PROFILE, "--config", f"local_steps={local}", "--", "results/raw/records.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    assert cluster.jobs() == {}
    assert _job(checkout.folder / "results/lineage/acquire_raw.json") is None


def _job(attestation):
    byproducts = read_statement(attestation)["predicate"]["runDetails"]["byproducts"]
    return byproducts[0]["annotations"]["slurmJob"]
