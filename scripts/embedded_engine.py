"""The embedded engine: vLLM on this machine's CPU behind NIM's paths, as a child in a process group of its own.

`with serving(...) as server:` starts it, waits until it is ready and always ends it. Nothing is written outside the
scratch folder and nothing leaves the machine.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from child_group import end_group, ended_by_signals
from engine_adapters import CHANNEL
from engine_command import MAX_MODEL_LEN, command, environment
from engine_server import SECONDS_TO_LOAD, Server
from faults import BadInput
from free_port import EVERYWHERE, HOST, free_port
from inference_client import get
from linked_files import link_files
from progress import Progress

SECONDS_TO_TELL = 5  # whether it is ready
LOG_LINES = 20
# An exception in vLLM's log, after the name of the process and, where it was logged, level, time and place.
CAUSE = re.compile(r"^(?:\(\w+ pid=\d+\) )?(?:ERROR \S+ \S+ \[\S+\] )?([\w.]+(?:Error|Exception): .+)$", re.MULTILINE)


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
    python: str | Path = sys.executable,
    host: str = HOST,
    max_rank: int | None = None,
    context: int = MAX_MODEL_LEN,
) -> Iterator[Server]:
    """Serve base model `base` (its HF `files`) and `adapters` (name → staged folder).

    With `max_rank` there is room for others, up to that rank, which `Server.serve` takes. `context` bounds the tokens
    of prompt and answer. `port` 0 takes a free one of the address `host`; `python` has vLLM. Raises `BadInput` if the
    port is taken, the engine ends early or is not ready within `timeout` seconds; the last lines of its log then stand
    on stderr. TERM and INT end it and this process.
    """
    port = free_port(port, host)
    url = f"http://{HOST if host == EVERYWHERE else host}:{port}"
    with ended_by_signals(), contextlib.ExitStack() as cleanup:
        scratch = Path(tempfile.mkdtemp(prefix="engine-")).resolve()
        cleanup.callback(shutil.rmtree, scratch, ignore_errors=True)
        lines = cleanup.enter_context(open(log or scratch / "engine.log", "w+b"))
        ours, theirs = map(cleanup.enter_context, socket.socketpair())
        ours.settimeout(SECONDS_TO_LOAD)
        process = subprocess.Popen(
            command(base, link_files(files, scratch / "base"), adapters, host, port, python, max_rank, context),
            cwd=scratch,
            env={**environment(scratch, threads), CHANNEL: str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        cleanup.callback(end_group, process)
        theirs.close()
        channel = cleanup.enter_context(ours.makefile("rwb"))
        try:
            _wait_until_ready(process, url, timeout, Path(lines.name))
            yield Server(url, get(url, "/v1/metadata")[1]["version"], process, channel)
        except BadInput:
            print(_tail(Path(lines.name)), file=sys.stderr)
            raise


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, timeout: float, log: Path) -> None:
    began = time.monotonic()
    with Progress("waiting for the engine", total=None, unit="s") as bar:
        while not _ready(process, url):
            waited = time.monotonic() - began
            if process.poll() is not None:
                cause = _cause(log)
                mend = "set deploy.port to a free port" if "address already in use" in cause.lower() else "see its log"
                raise BadInput(f"the embedded engine ended with exit code {process.returncode}: {cause}: {mend}")
            if waited > timeout:
                raise BadInput(f"the embedded engine was not ready after {timeout:g} s: raise deploy.timeout")
            time.sleep(0.2)
            bar.update(round(time.monotonic() - began) - round(waited))


def _ready(process: subprocess.Popen[bytes], url: str) -> bool:
    """Whether ready is 200 and the server that says so is the one started here, not another on the same port."""
    try:
        if get(url, "/v1/health/ready", SECONDS_TO_TELL)[0] != 200:
            return False
        status, metadata = get(url, "/v1/metadata", SECONDS_TO_TELL)
    except BadInput:
        return False
    return status == 200 and isinstance(metadata, dict) and metadata.get("process") == process.pid


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])


def _cause(log: Path) -> str:
    """Return the first exception that the log names; those after it follow from it."""
    found = CAUSE.search(log.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else "the end of its log says why"
