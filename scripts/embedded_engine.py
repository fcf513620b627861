"""The embedded engine: vLLM on this machine's CPU behind NIM's paths, as a child in a process group of its own.

`with serving(...) as url:` starts it, waits until it is ready and always ends it. Nothing is written outside the
scratch folder and nothing leaves the machine.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from engine_command import HOST, command, environment
from faults import BadInput
from inference_client import get
from progress import Progress

SECONDS_TO_END = 8  # less than the step runner's own patience, so that a TERM to it ends the server in good order
SECONDS_TO_TELL = 5  # whether it is ready
LOG_LINES = 20


@contextlib.contextmanager
def serving(
    base: str,
    files: Sequence[Path],
    adapters: Mapping[str, Path],
    *,
    port: int,
    threads: int,
    timeout: float,
    log: Path | None = None,
) -> Iterator[str]:
    """Serve base model `base` (its HF `files`) and `adapters` (name → staged folder); give the server's URL.

    `port` 0 takes a free one. Raises `BadInput` if the port is taken, if the engine ends early, or if it is not ready
    within `timeout` seconds; the last lines of its log then stand on stderr. TERM and INT end it and this process.
    """
    port = _free_port(port)
    with _ended_by_signals(), contextlib.ExitStack() as cleanup:
        scratch = Path(tempfile.mkdtemp(prefix="engine-")).resolve()
        cleanup.callback(shutil.rmtree, scratch, ignore_errors=True)
        lines = cleanup.enter_context(open(log or scratch / "engine.log", "w+b"))
        process = subprocess.Popen(
            command(base, _assemble(scratch, files), adapters, port),
            cwd=scratch,
            env=environment(scratch, threads),
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        cleanup.callback(_end, process)
        try:
            _wait_until_ready(process, port, timeout)
            yield f"http://{HOST}:{port}"
        except BadInput:
            print("".join(_tail(Path(lines.name))), file=sys.stderr)
            raise


def _assemble(scratch: Path, files: Sequence[Path]) -> Path:
    """Make a folder of links to the base's files, so that nothing else lying beside them is read."""
    folder = scratch / "base"
    folder.mkdir()
    for file in files:
        if not file.is_file():
            raise BadInput(f"{file}: no such file: run `make`")
        (folder / file.name).symlink_to(file.resolve())
    return folder


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except (OSError, OverflowError) as error:
            raise BadInput(f"port {port} on {HOST}: {error}: set deploy.port to a free port, or 0 for any") from None
        return probe.getsockname()[1]


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, timeout: float) -> None:
    began = time.monotonic()
    with Progress("waiting for the engine", total=None, unit="s") as bar:
        while not _ready(process, port):
            waited = time.monotonic() - began
            if process.poll() is not None:
                raise BadInput(
                    f"the embedded engine ended with exit code {process.returncode} after {waited:.0f} s; "
                    "the end of its log says why (if the port was taken meanwhile, set deploy.port)"
                )
            if waited > timeout:
                raise BadInput(f"the embedded engine was not ready after {timeout:g} s: raise deploy.timeout")
            time.sleep(0.2)
            bar.update(round(time.monotonic() - began) - round(waited))


def _ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Whether ready is 200 and the server that says so is the one started here, not another on the same port."""
    url = f"http://{HOST}:{port}"
    try:
        if get(url, "/v1/health/ready", SECONDS_TO_TELL)[0] != 200:
            return False
        status, metadata = get(url, "/v1/metadata", SECONDS_TO_TELL)
    except BadInput:
        return False
    return status == 200 and isinstance(metadata, dict) and metadata.get("process") == process.pid


def _tail(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-LOG_LINES:]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the engine's whole process group: TERM, some patience, then KILL for whatever is left."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn TERM and INT into `SystemExit`, so that what was started is ended on the way out."""

    def leave(number: int, _frame: FrameType | None) -> None:
        for signalled in before:  # a second one must not interrupt the ending
            signal.signal(signalled, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
