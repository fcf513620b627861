"""Clients on the embedded engine: 1, 8 and 32 at once, over 1, 4 and 16 adapters; our layer's cost; start; kill -9.

    .venvs/workflow/bin/python bench/serve_load.py [SECONDS]

SECONDS of each load, 120 by default. The loads run on the base of the last build in results/ (make), and on adapters
made from its own, of which every answer tells whose it is. Writes bench/serve_load.md.
"""

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "tests/support")]

import layer_cost  # noqa: E402
import start_phases  # noqa: E402
from engine_usage import resident_mebibytes  # noqa: E402
from killed_engine import kill_under_load  # noqa: E402
from load_clients import Expected, alone, load, percentile, told_apart, wrong  # noqa: E402
from marked_adapters import mark  # noqa: E402
from serve_build import serving  # noqa: E402

from adapter_build.core.faults import BadInput, run  # noqa: E402
from adapter_build.core.jsonl import read_jsonl  # noqa: E402
from adapter_build.serving.inference_client import MAX_TOKENS  # noqa: E402
from adapter_build.serving.served_build import staged_adapters  # noqa: E402

RESULTS = ROOT / "results"
ADAPTERS = (16, 4, 1)
CLIENTS = (1, 8, 32)
PROMPTS = 2
INTERVAL = 5.0  # of the watch
SECONDS_WITH_KILL = 60.0  # long enough for answers before it


def main() -> None:
    """Run every load, then the rest, and write the tables."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120.0
    name, adapter = next(iter(staged_adapters(RESULTS / "loras").items()))
    questions = read_jsonl(RESULTS / "evaluation" / f"{name}.predictions.jsonl")
    prompts = [row["input"] for row in islice(questions, PROMPTS)]
    with tempfile.TemporaryDirectory() as scratch:
        cells = _cells(mark(adapter, Path(scratch), [f"law-{n:02}" for n in range(max(ADAPTERS))]), prompts, seconds)
        layer = layer_cost.rows(Path(scratch))
    lines = [
        "# Clients on the embedded engine",
        "",
        f"SmolLM2-135M and adapters made from the embedded job's, {MAX_TOKENS} tokens, greedy, on {os.cpu_count()}",
        f"processors that the clients use too; new requests for {seconds:.0f} s each. Before the loads each adapter",
        "was asked alone: no two answered alike. Wrong is an answer that is not to the letter what its adapter gave.",
        "",
        "| adapters | clients | requests | tokens/s | p50 s | p95 s | MiB | failed | wrong |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *cells,
        "",
        "MiB is the largest resident memory of the engine's process group while it was asked.",
        "",
        "## What our layer costs",
        "",
        *layer,
        "",
        "## From start to sentinel",
        "",
        *start_phases.rows(RESULTS),
        "",
        "## kill -9 of the engine",
        "",
        *_killed(name, prompts),
        "",
    ]
    (ROOT / "bench/serve_load.md").write_text("\n".join(lines))
    print("\n".join(lines))


def _cells(adapters: dict[str, Path], prompts: Sequence[str], seconds: float) -> list[str]:
    """Return a row per load, on those prompts that tell all adapters apart. Raises `BadInput` if there are none."""
    cells: list[str] = []
    expected: Expected = {}
    for count in ADAPTERS:
        served = dict(islice(adapters.items(), count))
        with serving(RESULTS, served) as server:
            if not expected:
                expected = asyncio.run(alone(server.url, list(served), prompts, MAX_TOKENS))
                prompts = [text for text in prompts if told_apart({k: v for k, v in expected.items() if k[1] == text})]
                if not prompts:
                    raise BadInput("to each prompt two adapters answer alike: give mark() another strength")
            for clients in CLIENTS:
                with _Peak(server.process.pid) as peak:
                    began = time.monotonic()
                    replies = asyncio.run(
                        load(server.url, list(served), prompts, clients=clients, most=MAX_TOKENS, seconds=seconds)
                    )
                rate = sum(reply.tokens for reply in replies) / (time.monotonic() - began)
                times = [reply.ended - reply.began for reply in replies]
                failed, not_its = sum(reply.status != 200 for reply in replies), len(wrong(replies, expected))
                cells.append(
                    f"| {count} | {clients} | {len(replies)} | {rate:.1f} | {percentile(times, 0.5):.2f} |"
                    f" {percentile(times, 0.95):.2f} | {peak.mebibytes:.0f} | {failed} | {not_its} |"
                )
                print(cells[-1], file=sys.stderr, flush=True)
    return cells


class _Peak:
    """The largest resident memory of a process group while this is entered, looked at twice a second."""

    def __init__(self, group: int) -> None:
        self.mebibytes = 0.0
        self._group, self._over = group, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "_Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.5):
            self.mebibytes = max(self.mebibytes, resident_mebibytes(self._group))


def _killed(name: str, prompts: Sequence[str]) -> list[str]:
    how = {"clients": 8, "most": MAX_TOKENS, "seconds": SECONDS_WITH_KILL, "interval": INTERVAL}
    seen = kill_under_load(RESULTS, [name], prompts, **how)
    good, bad = sum(reply.status == 200 for reply in seen.before), sum(reply.status != 200 for reply in seen.after)
    errors = ", ".join(sorted({reply.error for reply in seen.after if reply.error}))
    return [
        f"8 clients for {SECONDS_WITH_KILL:.0f} s, the engine killed half-way. Before: {good} of {len(seen.before)}",
        f"requests answered 200; after: {bad} of {len(seen.after)} ended with an error ({errors}).",
        f"`watch_deployment.py --interval {INTERVAL:g}` said not ready {seen.seconds_to_tell:.1f} s after the kill"
        f" (`{seen.told['reason']}`),",
        f"and ready {seen.seconds_to_tell_again:.1f} s after the new engine was: "
        f"{sum(reply.status == 200 for reply in seen.again)} of {len(seen.again)} requests answered.",
    ]


if __name__ == "__main__":
    run(main)
