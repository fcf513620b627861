"""Overhead of the step runner on a container: one small step against a bare `docker run` of the same command.

    DOCKER_HOST=… .venvs/workflow/bin/python bench/step_overhead.py

Needs an engine that has the workflow image (make images). Writes bench/step_overhead.md.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from adapter_build.hermetic.images import image_of  # noqa: E402

RUNS = 9


def main() -> None:
    """Take both by turns, and compare the medians."""
    os.chdir(ROOT)
    image = image_of("workflow")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        folder = Path(scratch)
        for part in ("adapter_build", "scripts", "containers"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / ".venvs").symlink_to(ROOT / ".venvs")
        shutil.copy(ROOT / "bench/copy_text.py", folder / "scripts")
        (folder / "in.txt").write_text("in")
        (folder / "out").mkdir()
        inside = ["/opt/env/bin/python", "scripts/copy_text.py", "--source", "in.txt", "--copy", "/out/out.txt"]
        mounts = [f"{folder / 'in.txt'}:/checkout/in.txt:ro", f"{folder / 'scripts'}:/checkout/scripts:ro"]
        mounts.append(f"{folder / 'out'}:/out")
        options = ["--rm", "--network=none", "--workdir=/checkout", *(word for m in mounts for word in ("--volume", m))]
        bare = ["docker", "run", *options, image.image_id or image.reference, *inside]
        declared = ["--input", "source", "in.txt", "--output", "copy", "results/out.txt"]
        step = [sys.executable, "scripts/step.py", "--env", "workflow", "--log", "logs/copy.log", *declared]
        step = {name: [*step, "--runtime", name, "--", "scripts/copy_text.py"] for name in ("docker", "host")}
        commands = {"bare `docker run`": bare, "step, docker": step["docker"], "step, host": step["host"]}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(RUNS + 1):
            for name, command in commands.items():
                taken[name].append(_run(command, folder))
    walls = {name: statistics.median(wall for wall, _ in runs[1:]) for name, runs in taken.items()}
    cpus = {name: statistics.median(cpu for _, cpu in runs[1:]) for name, runs in taken.items()}
    base = walls["bare `docker run`"]
    lines = [
        "# What the step runner adds to a container",
        "",
        f"A step that copies a file, by turns with a bare `docker run` of the same command; medians of {RUNS}.",
        "CPU seconds are those of the command, not of the engine.",
        "",
        "| | wall s | over bare | ratio | CPU s |",
        "|---|---:|---:|---:|---:|",
        *(f"| {n} | {walls[n]:.2f} | {walls[n] - base:+.2f} | {walls[n] / base:.2f} | {cpus[n]:.2f} |" for n in walls),
        "",
    ]
    (ROOT / "bench/step_overhead.md").write_text("\n".join(lines))
    print("\n".join(lines))


def _run(command: list[str], folder: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
