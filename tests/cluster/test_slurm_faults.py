"""Faults of a cluster in the middle of a step: the build, or one more, ends with the undisturbed bytes."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from slurm_fixtures import PROFILE

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
TARGET = "results/curated/law-qa-val.jsonl"
LONG_ENOUGH = 300  # seconds after which Snakemake waits for something that will not come


class OneStep:
    """A checkout in which one step is to be run, as a Slurm job of its own: the curation of a split."""

    def __init__(self, checkout, cluster):
        self.checkout, self.cluster = checkout, cluster
        shutil.rmtree(checkout.folder / ".store")
        (checkout.folder / TARGET).unlink()
        self.heads = []

    def start(self, retries=0):
        """Start Snakemake; return it."""
        alone = ("--groups", "format_prompts=prompts")  # in place of the profile's
        self.heads.append(
            subprocess.Popen(
                self.checkout.command(*PROFILE, *alone, "--retries", str(retries), "--", TARGET),
                cwd=self.checkout.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
        return self.heads[-1]

    def stopped_in_mid_step(self, known=()):
        """Return the id of the job, and its runner's, once the step is under way; the runner does not go on."""
        self.cluster.wait_until(lambda: set(self.runners()) - set(known))
        (runner,) = set(self.runners()) - set(known)
        os.kill(runner, signal.SIGSTOP)
        return max(self.cluster.jobs(), key=int), runner

    def runners(self):
        """Return the pids of step runners at work in this checkout; a child that has not become another program yet
        looks like one.
        """
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                here = (process / "cwd").readlink() == self.checkout.folder
                words = (process / "cmdline").read_text().split("\0")
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            attempts = self.checkout.folder.glob("results/.attempts/curate_split.*/scratch")
            if here and words[1:2] == ["scripts/step.py"] and any(attempts):
                found[int(process.name)] = parent
        return [runner for runner, parent in found.items() if parent not in found]

    def end(self, head):
        """Return what Snakemake said, and its exit code."""
        said, _ = head.communicate(timeout=LONG_ENOUGH)
        return said, head.returncode


@pytest.fixture
def step(cluster, copy_of_built):
    made = OneStep(copy_of_built, cluster)
    yield made
    for head in made.heads:
        head.kill()
        head.communicate()
    for runner in made.runners():
        os.kill(runner, signal.SIGKILL)


def undisturbed(step, built):
    """Tell whether every artifact is that of an undisturbed build, and nothing is left of an attempt."""
    attempts = step.checkout.folder / "results/.attempts"
    return step.checkout.digests() == built.digests() and not [
        path for path in attempts.iterdir() if (path.suffix in (".lock", ".owner") and path.stem) or path.is_dir()
    ]


def test_a_cancelled_job_is_tried_again_with_more(step, cluster, built):
    """And Snakemake does not wait for it for ever, as it does if it asks sacct."""
    head = step.start(retries=1)
    job, _ = step.stopped_in_mid_step()
    cluster.ask("scancel", job)
    said, code = step.end(head)
    assert code == 0, said
    again = max(cluster.jobs(), key=int)
    assert (cluster.jobs()[job]["state"], cluster.jobs()[again]["state"]) == ("CANCELLED", "COMPLETED")
    first, second = (cluster.ask("scontrol", "show", "job", number) for number in (job, again))
    assert "mem=1500M" in first and "TimeLimit=00:30:00" in first, first
    assert "mem=3000M" in second and "TimeLimit=01:00:00" in second, second
    assert undisturbed(step, built)


def test_a_job_out_of_time(step, cluster, built):
    head = step.start()
    job, _ = step.stopped_in_mid_step()
    cluster.ask("scontrol", "update", f"JobId={job}", "EndTime=now")
    cluster.wait_until(lambda: cluster.jobs()[job]["state"] == "TIMEOUT")
    head.kill()  # which would look, too, before long
    assert not (step.checkout.folder / TARGET).exists()
    step.checkout.build(TARGET)
    assert undisturbed(step, built)


def test_a_node_that_dies_under_its_job(step, cluster, built):
    """Its slurmd is gone, the job's processes are not, and go on after another run has done the step."""
    head = step.start()
    job, zombie = step.stopped_in_mid_step()
    cluster.kill(cluster.jobs()[job]["node"])
    said, code = step.end(head)
    assert code == 1 and f"SLURM-job '{job}' failed due to a node failure" in said, said
    step.checkout.build(TARGET)
    os.kill(zombie, signal.SIGCONT)
    cluster.wait_until(lambda: zombie not in step.runners())
    assert undisturbed(step, built)


def test_a_controller_that_is_restarted(step, cluster, built):
    head = step.start()
    job, runner = step.stopped_in_mid_step()
    cluster.kill("slurmctld", signal.SIGTERM)
    os.kill(runner, signal.SIGCONT)
    cluster.start("slurmctld")
    said, code = step.end(head)
    assert code == 0 and cluster.jobs()[job]["state"] == "COMPLETED", said
    assert undisturbed(step, built)


def test_a_head_that_is_killed(step, cluster, built):
    """In mid-step, and again while the job finishes: the next build ends the first's job, takes up the second's."""
    first = step.start()
    job, runner = step.stopped_in_mid_step()
    first.send_signal(signal.SIGKILL)
    second = step.start()
    cluster.wait_until(lambda: cluster.jobs()[job]["state"] == "CANCELLED")
    _, runner = step.stopped_in_mid_step(known=[runner])
    os.kill(runner, signal.SIGCONT)
    cluster.wait_until((step.checkout.folder / TARGET).exists)
    second.send_signal(signal.SIGKILL)
    step.checkout.build(TARGET)
    assert undisturbed(step, built)
    assert f"scancel {job}: jobs of a build here that was killed" in step.end(second)[0]
