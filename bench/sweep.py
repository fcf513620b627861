"""Cost of planning many adapters at once: a dry run of 50, 100 and 200 of them.

    .venvs/workflow/bin/python bench/sweep.py

CPU seconds and memory are Snakemake's alone; nothing is run. Writes bench/sweep.md.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
ADAPTERS = (50, 100, 200)


def main() -> None:
    """Plan each sweep, and write the table."""
    lines = [
        "# Planning a sweep",
        "",
        "A dry run of the whole chain with so many adapters. CPU seconds and peak memory are those of Snakemake.",
        "",
        "| adapters | jobs | CPU s | CPU ms per job | MiB | KiB per job |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        for count in ADAPTERS:
            jobs, seconds, mebibytes = _plan(count, Path(scratch) / "sweep.yaml")
            per_job = f"{1000 * seconds / jobs:.1f} | {mebibytes:.0f} | {1024 * mebibytes / jobs:.0f}"
            lines.append(f"| {count} | {jobs} | {seconds:.1f} | {per_job} |")
            print(lines[-1], flush=True)
    (ROOT / "bench/sweep.md").write_text("\n".join([*lines, ""]))


def _plan(count: int, overlay: Path) -> tuple[int, float, float]:
    """Return the number of jobs of a sweep, and the CPU seconds and peak MiB that planning them takes."""
    adapters = {f"sweep-{seed:03}": {"prompt": "prompts/law-titlegen.jq", "seed": seed} for seed in range(count)}
    overlay.write_text(yaml.safe_dump({"adapters": adapters}))
    command = [
        str(Path(sys.executable).with_name("snakemake")), "--workflow-profile", "none", "--nolock", "--cores", "1",
        "--configfile", str(overlay), "--dry-run", "--forceall", "--quiet", "rules",
    ]  # fmt: skip
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        said.seek(0)
        text = said.read()
    if status:
        sys.exit(text)
    return (
        int(re.findall(r"^total\s+(\d+)", text, re.MULTILINE)[-1]),
        used.ru_utime + used.ru_stime,
        used.ru_maxrss / 1024,
    )


if __name__ == "__main__":
    main()
