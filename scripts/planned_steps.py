"""Every step of the current targets, as Snakemake would call the runner for it. Nothing is run."""

import re
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from faults import BadInput
from step import parse

CALL = re.compile(r"^Shell command: python scripts/step\.py (.*)$", re.MULTILINE)


def planned_steps(options: Sequence[str] = ()) -> dict[str, Namespace]:
    """Return step → its runner's options, for the targets and settings that `options` of Snakemake name.

    Raises `BadInput` with what Snakemake says where it cannot plan.
    """
    snakemake = [str(Path(sys.executable).with_name("snakemake")), "--workflow-profile", "none", "--cores", "1"]
    command = [*snakemake, "--dry-run", "--forceall", "--printshellcmds", "--nolock", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
        raise BadInput(
            said[0].removeprefix("error: ") if said else f"snakemake --dry-run: {done.stderr.strip()[-300:]}"
        )
    calls = [parse(shlex.split(words)) for words in CALL.findall(done.stdout + done.stderr)]
    return {call.log.relative_to("logs").with_suffix("").as_posix(): call for call in calls}
