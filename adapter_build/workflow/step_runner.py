"""The step runner: it runs one declared step in its environment, with nothing but its inputs, and attests the run.

    python scripts/step.py --env curate --log logs/split_records.log … -- scripts/split_records.py

The script is called with every input, output and parameter as an option of the same name. Outputs are written to a
private folder, digested, attested under results/lineage/ and only then renamed into place.
"""

import argparse
import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput, refusal
from adapter_build.hermetic import attestation
from adapter_build.hermetic.access import let_others_read
from adapter_build.hermetic.action import Action, name_of
from adapter_build.hermetic.attempt import attempt
from adapter_build.hermetic.execution import Limits
from adapter_build.hermetic.input_digests import unaltered
from adapter_build.hermetic.isolation import shares_memory
from adapter_build.hermetic.resume_state import ResumeState, forget
from adapter_build.hermetic.reuse import Reuse
from adapter_build.hermetic.runtime import RUNNERS
from adapter_build.hermetic.step_log import follow_step
from adapter_build.hermetic.terminal import StatusLine


def run_step(arguments: argparse.Namespace) -> None:
    """Run the step that a command line declares, as `parse` reads it."""
    step = step_name(arguments)
    status = StatusLine()
    began = time.monotonic()
    started = attestation.now()
    action = action_of(arguments).with_digests()
    outputs = [path for paths in action.outputs.values() for path in paths]
    attestation.declaration(step, action)
    limits = Limits(arguments.memory, arguments.shared_memory, tuple(arguments.ulimit))
    runtime = "host" if action.on_host else arguments.runtime
    shared = bool(action.secrets) and shares_memory(action, runtime)
    with (
        attempt(step, action.secrets, shared) as private,
        Reuse(step, action, enabled=not arguments.always) as reuse,
    ):
        private.prepare(outputs)
        try:
            envelope = reuse.restored(private, started)
            if not envelope:
                state = ResumeState(step, action.key(), private.keep()) if action.keep else None
                with (
                    state.taking_out() if state else contextlib.nullcontext(),
                    unaltered(action.input_digests),
                    RUNNERS[runtime](action, private, limits) as execution,
                ):
                    status.show(f"  {step} …")
                    at = follow_step(step, action, private, execution, arguments.log, status)
                resumed = (
                    {"step": at, "state": state.digest, "signed": state.signed}
                    if state and state.handed and at
                    else None
                )
                private.check(outputs)
                digests = {path: file_digest(private.out / path) for path in outputs}
                made = attestation.statement(step, action, digests, started, execution.ran, resumed)
                envelope = attestation.sealed(made)
                reuse.remember(private, digests, envelope)
            if private.superseded():  # the scheduler gave this job up, and the step has begun again elsewhere
                status.finish(f"  {step:<32} left to a later attempt")
                return
            attestation.write(step, envelope)
            private.publish(outputs)
            forget(step, action.key())
            if arguments.bundle:
                from adapter_build.lineage.adapter_bundle import write_bundle  # one rule alone asks for a bundle
                from adapter_build.lineage.attested_steps import read_lineage

                write_bundle(arguments.bundle, read_lineage(attestation.LINEAGE.parent), step)
                let_others_read(arguments.bundle)
        except BadInput as fault:
            status.finish()
            raise BadInput(f"{step}: {fault} (log: {arguments.log})") from None
        except OSError as error:
            status.finish()
            raise BadInput(f"{step}: {refusal(error) or f'{error.filename}: {error.strerror}'}") from None
    status.finish(f"  {step:<32} {time.monotonic() - began:6.1f} s{'  from the store' if reuse.hit else ''}")


def step_name(arguments: argparse.Namespace) -> str:
    """Return the name of the step of a command line, as in logs/STEP.log."""
    return name_of(arguments.log).relative_to("logs").with_suffix("").as_posix()


def action_of(arguments: argparse.Namespace) -> Action:
    """Return the action that a command line declares."""
    return Action(
        script=arguments.script,
        environment=arguments.env,
        inputs=_files(arguments.input),
        outputs=_files(arguments.output),
        params={name: values for name, *values in arguments.param if values},  # one without a value is unset
        threads=arguments.threads,
        devices=arguments.devices,
        nodes=arguments.nodes,
        network=arguments.network,
        on_host=arguments.on_host,
        loopback=arguments.loopback,
        secrets=tuple(arguments.secret),
        settings={name: values for name, *values in arguments.setting if values},
        keep=arguments.keep,
    )


def parse(command_line: Sequence[str] | None = None, description: str | None = None) -> argparse.Namespace:
    """Return the options of a command line, by default of this process's own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    named: dict[str, Any] = {"action": "append", "nargs": "+", "default": [], "metavar": ("NAME", "VALUE")}
    parser.add_argument("--env", required=True, help="the environment, a folder of containers/, or tune.cuda")
    parser.add_argument("--log", required=True, type=Path, help="logs/STEP.log; STEP names the attestation too")
    parser.add_argument("--input", **named, help="an option of the script and the files it reads")
    parser.add_argument("--output", **named, help="an option of the script and the files it writes")
    parser.add_argument("--param", **named, help="an option of the script and its values")
    parser.add_argument("--setting", **named, help="like a param, but in no key: it never decides the result")
    parser.add_argument("--keep", metavar="NAME", help="an option of the script: what a killed run leaves to the next")
    parser.add_argument("--runtime", choices=sorted(RUNNERS), default=os.environ.get("STEP_RUNTIME", "host"))
    parser.add_argument("--threads", type=int, default=1, help="threads of the numeric libraries")
    parser.add_argument("--devices", type=int, default=0, help="how many GPUs the step may see")
    parser.add_argument("--nodes", type=int, default=1, help="nodes of its Slurm job that the script is started on")
    parser.add_argument("--memory", type=int, help="MiB that its container may use")
    parser.add_argument("--shared-memory", type=int, help="MiB of /dev/shm in its container")
    parser.add_argument("--ulimit", action="append", default=[], metavar="NAME=VALUE", help="of its container")
    parser.add_argument("--network", action="store_true", help="the step may use the network")
    parser.add_argument("--loopback", action="store_true", help="its processes speak with each other by sockets")
    parser.add_argument("--on-host", action="store_true", help="it starts containers: outside of any, and of a sandbox")
    parser.add_argument("--secret", action="append", default=[], help="a variable that only this step may see")
    parser.add_argument(
        "--bundle",
        type=Path,
        help="a folder of the model store, for all attestations that led here and a signature; others may read it",
    )
    parser.add_argument("--always", action="store_true", help="run it even if the store has what it would make")
    parser.add_argument("script", type=Path, help="after --: the script to run")
    return parser.parse_args(command_line)


def _files(named: list[list[str]]) -> dict[str, list[Path]]:
    return {name: [Path(path) for path in paths] for name, *paths in named}
