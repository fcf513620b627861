"""Cost of our middleware: requests of one token to the embedded engine, and to the same vLLM without our middleware.

Both serve the tests' two-layer base, so that little but the server's own work is counted, and take the same requests by
turns. The layer alone is driven too, around an application that does nothing.
"""

import asyncio
import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapter_samples import write_adapter, write_base
from by_turns import turns
from engine_usage import cpu_seconds
from load_clients import load

from adapter_build.core.faults import BadInput
from adapter_build.core.ports import HOST, free_port, listening
from adapter_build.core.processes import end_group
from adapter_build.hermetic.environments import interpreter
from adapter_build.serving import embedded_engine
from adapter_build.serving.engine_adapters import EngineAdapters
from adapter_build.serving.engine_command import command, environment
from adapter_build.serving.engine_health import EngineHealth
from adapter_build.serving.inference_client import get
from adapter_build.serving.nim_paths import NimPaths
from adapter_build.serving.request_bounds import RequestBounds

LAYER = ("--middleware", "--allowed-origins")  # each with its value
PROMPT = "QUESTION: May my landlord keep my deposit?\n\nTITLE:"
BODY = json.dumps({"model": "law", "prompt": PROMPT, "max_tokens": 1}).encode()
RUNS, REQUESTS, CLIENTS = 12, 400, 4
CALLS = 200_000
THREADS = 1  # of an engine


def rows(scratch: Path) -> list[str]:
    """Return the table."""
    files = write_base(scratch / "base")
    write_adapter(scratch / "law")
    adapters = {"law": scratch / "law"}
    how = {"port": 0, "threads": THREADS, "timeout": 600, "python": interpreter("serve")}
    with (
        contextlib.closing(listening(0)) as listener,  # with one, canaries are asked, as in make serve
        embedded_engine.serving("tiny", files, adapters, listener=listener, **how) as ours,
        _plain(scratch, adapters) as (url, plain),
    ):
        ours.open()
        engines = {"embedded engine": (ours.url, ours.process.pid), "vLLM without our layer": (url, plain)}
        for at, _ in engines.values():
            _ask(at)  # what only the first requests need
        # One engine waits while the other is asked: the CPU seconds of both are those of the one asked.
        taken = turns(
            {label: lambda at=at: _ask(at) for label, (at, _) in engines.items()},
            RUNS,
            used=lambda: sum(cpu_seconds(group) for _, group in engines.values()),
        )
    each = {label: [1000 * cpu / REQUESTS for _, cpu in runs] for label, runs in taken.items()}
    with_layer, without = each.values()
    added = [one - other for one, other in zip(with_layer, without, strict=True)]
    return [
        f"{RUNS} turns of {REQUESTS} requests of one token, {CLIENTS} at once, on the tests' two-layer base; CPU ms",
        "of the server's processes per request, its canaries among them:",
        "",
        "| | median | quartiles |",
        "|---|---:|---:|",
        *(f"| {label} | {_spread(values)} |" for label, values in {**each, "the layer, turn by turn": added}.items()),
        "",
        f"The layer alone, around an application that does nothing: {1000 * asyncio.run(_alone()):.4f} CPU ms a call.",
    ]


def _spread(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.2f} | {low:.2f} to {high:.2f}"


def _ask(url: str) -> None:
    replies = asyncio.run(load(url, ["law"], [PROMPT], clients=CLIENTS, most=1, requests=REQUESTS))
    if failed := [reply.error for reply in replies if reply.status != 200]:
        raise BadInput(f"{url}: {failed[0]}")


@contextlib.contextmanager
def _plain(scratch: Path, adapters: dict[str, Path]) -> Iterator[tuple[str, int]]:
    """Run the embedded engine's command without its middleware; yield URL and process group."""
    port = free_port(0)
    words = command("tiny", scratch / "base", adapters, HOST, port, interpreter("serve"), None)
    ours = [number for number, word in enumerate(words) if word in LAYER]
    for number in reversed(ours):
        del words[number : number + 2]
    home = scratch / "plain"
    home.mkdir()
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(
            words, cwd=home, env=environment(home, THREADS), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        while not _healthy(f"http://{HOST}:{port}"):
            if process.poll() is not None:
                raise BadInput(f"plain vLLM ended with exit code {process.returncode}")
            time.sleep(0.2)
        yield f"http://{HOST}:{port}", process.pid
    finally:
        end_group(process)


def _healthy(url: str) -> bool:
    """Tell if vLLM, which starts to listen when it is ready, lists its models."""
    try:
        return get(url, "/v1/models")[0] == 200
    except BadInput:
        return False


async def _alone() -> float:
    """Return the CPU seconds that passing a completion on takes."""

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        """Be the application."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY}

    layered = RequestBounds(EngineHealth(EngineAdapters(NimPaths(nothing))))
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers}
    taken = []
    for application in (nothing, layered):
        began = time.process_time()
        for _ in range(CALLS):
            await application(scope, receive, None)
        taken.append(time.process_time() - began)
    return (taken[1] - taken[0]) / CALLS
