"""Every step of the current targets, as Snakemake would call the runner for it. Nothing is run."""

import json
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from faults import BadInput
from step import parse, step_name

CALL = re.compile(r"^Shell command: python scripts/step\.py (.*)$", re.MULTILINE)
SETTINGS = re.compile(r"^settings of steps: (\{.*\})$", re.MULTILINE)
# Snakemake, and at its end the variables that the Snakefile has set for the runners it would have started.
SNAKEMAKE = """
import atexit, json, os
def tell(): print("settings of steps:", json.dumps({k: v for k, v in os.environ.items() if k.startswith("STEP_")}))
atexit.register(tell)
from snakemake.cli import main
main()
"""


@dataclass(frozen=True)
class Plan:
    """What a build of some targets would do.

    `calls` maps each step to its runner's command line, a step after those it depends on; `settings` are the variables
    of every runner, from the configuration in force (hermetic/settings.py).
    """

    calls: dict[str, list[str]]
    settings: dict[str, str]


def plan(options: Sequence[str] = ()) -> Plan:
    """Return the plan for the targets and settings that `options` of Snakemake name.

    Raises `BadInput` with what Snakemake says where it cannot plan.
    """
    snakemake = [sys.executable, "-c", SNAKEMAKE, "--workflow-profile", "none", "--cores", "1"]
    command = [*snakemake, "--dry-run", "--forceall", "--printshellcmds", "--nolock", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
        raise BadInput(
            said[0].removeprefix("error: ") if said else f"snakemake --dry-run: {done.stderr.strip()[-300:]}"
        )
    calls = [shlex.split(words) for words in CALL.findall(done.stdout + done.stderr)]
    return Plan({step_name(parse(call)): call for call in calls}, json.loads(SETTINGS.findall(done.stdout)[-1]))


def planned_steps(options: Sequence[str] = ()) -> dict[str, Namespace]:
    """Return step → its runner's options, as `plan` finds them."""
    return {step: parse(call) for step, call in plan(options).calls.items()}
