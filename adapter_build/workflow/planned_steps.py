"""Every step of the current targets, as Snakemake would call the runner for it. Nothing is run."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.workflow.step_runner import parse, step_name

RUNNER = ["python", "scripts/step.py"]  # how a rule's shell command begins, if it is a step's


@dataclass(frozen=True)
class Plan:
    """The steps that a build of some targets would run.

    `calls` maps each step to its runner's command line, a step after those it depends on; `settings` are the variables
    of every runner, from the configuration in force (hermetic/variables.py).
    """

    calls: dict[str, list[str]]
    settings: dict[str, str]


def plan(options: Sequence[str] = ()) -> Plan:
    """Return the plan for the targets and settings that `options` of Snakemake name.

    Raises `BadInput` with what Snakemake says where it cannot plan.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.json"
        command = [
            sys.executable, "-m", "adapter_build.workflow.plan_executor", "--workflow-profile", "none",
            "--cores", "1", "--nolock", "--forceall", *options,
        ]  # fmt: skip
        environment = {**os.environ, "PLAN": str(file)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode or not file.is_file():
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
            raise BadInput(
                said[0].removeprefix("error: ") if said else f"Snakemake cannot plan: {done.stderr.strip()[-300:]}"
            )
        found = json.loads(file.read_text(encoding="utf-8"))
    commands = [shlex.split(job["command"]) for job in found["jobs"]]
    calls = [words[len(RUNNER) :] for words in commands if words[: len(RUNNER)] == RUNNER]
    return Plan({step_name(parse(call)): call for call in calls}, found["settings"])


def planned_steps(options: Sequence[str] = ()) -> dict[str, Namespace]:
    """Return step → its runner's options, as `plan` finds them."""
    return {step: parse(call) for step, call in plan(options).calls.items()}
