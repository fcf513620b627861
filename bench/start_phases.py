"""Phases of check_deployment from its start to the sentinel, on the embedded job, seen from outside."""

import itertools
import os
import subprocess
import tempfile
import time
from pathlib import Path

from serve_build import SECONDS_TO_START, THREADS

from adapter_build.core.faults import BadInput
from adapter_build.core.ports import HOST, free_port
from adapter_build.hermetic.environments import interpreter
from adapter_build.serving.inference_client import get
from adapter_build.serving.served_build import base_files, checked_base, staged_adapters

ROOT = Path(__file__).parents[1]
RUNS = 3
PHASES = (
    "start: Python, vLLM's imports, to the first line of its log",
    "ready: model and adapters loaded, to 200 from /v1/health/ready",
    "checks: to the sentinel",
    "stop: to the end of the process",
)
DONE = """What dominates is vLLM making its engine. Done about it: the size of its cache is given, so that it measures,
compiles and warms up nothing; its worker runs in the engine's process; it looks at the model's class in its own
process, which saves 6 s of imports."""


def rows(results: Path) -> list[str]:
    """Return the table: seconds of each phase, one column per run."""
    runs = [_phases(results) for _ in range(RUNS)]
    lines = [
        f"| phase, {RUNS} runs | seconds |",
        "|---|---:|",
    ]
    for number, phase in enumerate(PHASES):
        lines.append(f"| {phase} | {', '.join(f'{run[number]:.1f}' for run in runs)} |")
    return [*lines, f"| together | {', '.join(f'{sum(run):.1f}' for run in runs)} |", "", DONE]


def _phases(results: Path) -> list[float]:
    """Run check_deployment.py on a build as the step runner does; return the seconds of each phase."""
    port = free_port(0)
    base = checked_base(results / "deploy" / "ready.json")
    adapters = staged_adapters(results / "loras")
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch) / "ready.json"
        options = {
            "engine": ["embedded"], "base": [base], "port": [port], "threads": [THREADS], "ready": [ready],
            "timeout": [SECONDS_TO_START], "files": base_files(results / "base" / base),
            "staged": [path for folder in adapters.values() for path in sorted(folder.iterdir()) if path.is_file()],
            "predictions": sorted((results / "evaluation").glob("*.predictions.jsonl")),
        }  # fmt: skip
        words = [word for name, values in options.items() for word in (f"--{name}", *map(str, values))]
        times = [time.monotonic()]
        process = subprocess.Popen(
            [interpreter("serve"), "scripts/check_deployment.py", *words],
            cwd=ROOT, env={**os.environ, "TMPDIR": scratch},
        )  # fmt: skip
        seen = (
            lambda: any(log.stat().st_size for log in Path(scratch).glob("engine-*/engine.log")),
            lambda: _ready(port),
            ready.exists,
        )
        for happened in seen:
            while not happened() and process.poll() is None:
                time.sleep(0.02)
            times.append(time.monotonic())
        if process.wait():
            raise BadInput(f"check_deployment.py ended with exit code {process.returncode}")
        times.append(time.monotonic())
    return [after - before for before, after in itertools.pairwise(times)]


def _ready(port: int) -> bool:
    try:
        return get(f"http://{HOST}:{port}", "/v1/health/ready", 5)[0] == 200
    except BadInput:
        return False
