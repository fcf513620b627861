"""Tell why a step would run: what changed since it last ran. Nothing is run.

python -m adapter_build.cli.why tune_adapter/law-titlegen
python -m adapter_build.cli.why tune_adapter/law-titlegen -- --configfile configs/law-stackexchange.yaml
"""

import argparse

from adapter_build.core.faults import BadInput, run, say
from adapter_build.hermetic import attestation
from adapter_build.hermetic.changes import changes
from adapter_build.workflow.planned_steps import planned_steps
from adapter_build.workflow.step_runner import action_of


def main() -> None:
    """Print one line per change of the named step, or of every step that has one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="?", help="a step, as in logs/STEP.log; default: all")
    parser.add_argument("snakemake", nargs="*", help="after --: options of Snakemake, such as --configfile")
    arguments = parser.parse_args()
    steps = planned_steps(arguments.snakemake)
    if arguments.step and arguments.step not in steps:
        raise BadInput(f"no step {arguments.step} among {', '.join(sorted(steps))}")
    for step in [arguments.step] if arguments.step else sorted(steps):
        for line in reasons(step, steps[step]):
            say(f"{step}: {line}")


def reasons(step: str, planned: argparse.Namespace) -> list[str]:
    """Return the changes, or a line for none, or for an input that has yet to be made."""
    action = action_of(planned)
    absent = [str(path) for paths in action.inputs.values() for path in paths if not path.is_file()]
    if absent:
        return [f"{absent[0]} is not there yet"]
    return changes(action.with_digests(), attestation.read(step)) or ["nothing changed"]


if __name__ == "__main__":
    run(main)
