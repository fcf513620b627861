"""One run of a step's script, in any runtime: its limits, the lines it prints, its exit code, facts to attest."""

import contextlib
import ctypes
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from adapter_build.core.processes import end_group, ended_by_signals

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
class Ran:
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
    ran: Ran


@contextlib.contextmanager
def child(command: Sequence[str], environment: Mapping[str, str], ran: Ran) -> Iterator[Execution]:
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
