"""kill -9 of the engine while clients ask it: what they get, when a watch tells it, what a restart brings back."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load_clients import Reply, load
from serve_build import THREADS, serving

from adapter_build.core.ports import HOST, free_port

ROOT = Path(__file__).parents[1]
SECONDS_TO_TELL = 300


@dataclass(frozen=True)
class Outcome:
    """Observations of a kill; the watch's times are seconds from the kill, and from the new engine's readiness."""

    killed: float  # of the monotonic clock
    before: list[Reply]  # ended before the kill
    after: list[Reply]  # the others
    told: dict[str, Any]  # the watch's status when it was first not ready, or its last
    seconds_to_tell: float
    again: list[Reply]  # of the new engine
    told_again: dict[str, Any]
    seconds_to_tell_again: float


def kill_under_load(
    results: Path, models: Sequence[str], prompts: Sequence[str], *, clients: int, most: int, seconds: float,
    interval: float, threads: int = THREADS,
) -> Outcome:  # fmt: skip
    """Serve a build, let `clients` ask for `seconds`, kill the engine half-way, start it anew and ask again."""
    port = free_port(0)
    ask = {"models": models, "prompts": prompts, "clients": clients, "most": most}
    with _watching(results, f"http://{HOST}:{port}", interval) as status:
        with serving(results, port=port, threads=threads) as server:
            _until_ready(status)
            seen = asyncio.run(_kill(server.process.pid, server.url, ask, seconds, status))
        with serving(results, port=port, threads=threads) as server:
            began = time.monotonic()
            told_again = _until_ready(status)
            waited = time.monotonic() - began
            again = asyncio.run(load(server.url, **ask, requests=2 * len(models) * len(prompts)))
    return Outcome(*seen, again, told_again, waited)


async def _kill(
    engine: int, url: str, ask: dict[str, Any], seconds: float, status: Path
) -> tuple[float, list[Reply], list[Reply], dict[str, Any], float]:
    loading = asyncio.create_task(load(url, **ask, seconds=seconds))
    await asyncio.sleep(seconds / 2)
    os.kill(engine, signal.SIGKILL)
    killed = time.monotonic()
    while (told := _read(status))["ready"] and not loading.done():
        await asyncio.sleep(0.05)
    waited = time.monotonic() - killed
    replies = await loading
    before = [reply for reply in replies if reply.ended <= killed]
    return killed, before, [reply for reply in replies if reply.ended > killed], told, waited


@contextlib.contextmanager
def _watching(results: Path, url: str, interval: float) -> Iterator[Path]:
    """Watch the server at `url` with watch_deployment.py; yield its status file."""
    with tempfile.TemporaryDirectory() as folder:
        status = Path(folder) / "status.json"
        watch = subprocess.Popen(
            [sys.executable, "-m", "adapter_build.cli.watch_deployment",
             "--results", results.absolute(), "--status", status,
             "--interval", str(interval), "--url", url],
            cwd=ROOT, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield status
        finally:
            watch.terminate()
            watch.wait()


def _until_ready(status: Path) -> dict[str, Any]:
    """Wait until the watch says ready, and return its status. Raises `TimeoutError`."""
    deadline = time.monotonic() + SECONDS_TO_TELL
    while not (told := _read(status))["ready"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {SECONDS_TO_TELL} s the watch says {told}")
        time.sleep(0.05)
    return told


def _read(status: Path) -> dict[str, Any]:
    try:
        return json.loads(status.read_text(encoding="utf-8"))
    except FileNotFoundError:  # before the first check
        return {"ready": None}
