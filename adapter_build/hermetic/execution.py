"""One run of a step's script, in any runtime: its limits, the lines it prints, its exit code, facts to attest."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from adapter_build.core.faults import BadInput
from adapter_build.core.processes import end_group, ended_by_signals
from adapter_build.hermetic.action import Action

SECONDS_TO_END = 15
PR_SET_PDEATHSIG = 1
PROCESSES = 4096  # a step with numeric libraries starts threads by the dozen; a fork bomb starts more than this


@dataclass(frozen=True)
class Limits:
    """Bounds on what a step uses of the machine. They decide whether it ends, never its result, and are in no key.

    `memory` and `shared_memory` in MiB; None: the runtime's default. `ulimits` as `name=value`, for docker alone.
    """

    memory: int | None = None
    shared_memory: int | None = None
    ulimits: tuple[str, ...] = ()
    processes: int = PROCESSES


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run that its attestation states. The image's digests are those that the engine names."""

    runtime: str
    isolation: str
    image: str | None = None  # repository@sha256:… of the manifest
    image_id: str | None = None  # sha256:… of the configuration, as executed


@dataclass(frozen=True)
class Execution:
    """A started script. `wait` returns its exit code once `lines` are read."""

    lines: Iterable[bytes]
    wait: Callable[[], int]
    ran: RunFacts


def on_nodes(
    action: Action, command: Sequence[str], variables: Mapping[str, str]
) -> tuple[list[str], dict[str, str], str]:
    """Return the command under srun, its variables, and the number of nodes in words; all unchanged for one node.

    Every node sees the attempt's folder: it lies in the checkout, which they share. Raises `BadInput` outside of a job.
    """
    if action.nodes == 1:
        return [*command], {**variables}, ""
    srun, job = shutil.which("srun"), os.environ.get("SLURM_JOB_ID")
    if not srun or not job:
        raise BadInput(
            f"it needs {action.nodes} nodes, which only a Slurm job has: build with --workflow-profile profiles/slurm, "
            "or set nodes and curate.nodes to 1"
        )
    start = [
        srun, f"--jobid={job}", "--overlap", f"--nodes={action.nodes}", f"--ntasks={action.nodes}",
        "--ntasks-per-node=1", f"--cpus-per-task={action.threads}", "--kill-on-bad-exit=1", "--quiet",
    ]  # fmt: skip
    settings = {"SLURM_CONF": os.environ["SLURM_CONF"]} if "SLURM_CONF" in os.environ else {}
    return [*start, *command], {**variables, **settings}, f", on {action.nodes} nodes"


@contextlib.contextmanager
def child(command: Sequence[str], environment: Mapping[str, str], ran: RunFacts) -> Generator[Execution]:
    """Start a command in a process group of its own; end the whole group on leaving, and on TERM or INT."""
    with (
        ended_by_signals(),
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        ) as process,
    ):
        assert process.stdout
        try:
            yield Execution(process.stdout, process.wait, ran)
        finally:
            end_group(process, SECONDS_TO_END)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
