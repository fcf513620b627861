"""Run `make` in two clean clones, compare every artifact, and write what each step took to bench/full_job.md.

    .venvs/workflow/bin/python bench/full_job.py

CPU seconds and peak memory are those that Snakemake's benchmark files hold, children included. The second clone finds
uv's cache warm; the first does too where an environment was ever installed on the machine. Where a Docker Engine has
every image (make images), a third clone builds in containers, and its artifacts are compared too.
"""

import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from adapter_build.core.digests import file_digest  # noqa: E402
from adapter_build.hermetic.environments import ENVIRONMENTS  # noqa: E402
from adapter_build.hermetic.images import LOCAL  # noqa: E402
from adapter_build.hermetic.runtime import Runtime  # noqa: E402
from adapter_build.lineage.results_folder import artifacts  # noqa: E402


def main() -> None:
    """Build twice, compare, write the table."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        builds = [_build(Path(scratch) / name, "host") for name in ("first", "second")]
        if Runtime("auto", ENVIRONMENTS).name == "docker":
            builds.append(_build(Path(scratch) / "containers", "docker"))
        digests = [_digests(folder / "results") for folder, _ in builds]
        different = sorted({name for other in digests[1:] for name, _ in digests[0].items() ^ other.items()})
        rows = _rows(builds[1][0] / "benchmarks")
        again = _again(builds[1][0])
        scores = {
            path.stem: json.loads(path.read_text()) for path in (builds[1][0] / "results/evaluation").glob("*.json")
        }
    text = _table(rows, [seconds for _, seconds in builds], again, len(digests[0]), different, scores)
    (ROOT / "bench/full_job.md").write_text(text)
    print(text)
    raise SystemExit(bool(different))


def _build(folder: Path, runtime: str) -> tuple[Path, float]:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    if (ROOT / LOCAL).exists():
        shutil.copy(ROOT / LOCAL, folder / LOCAL)
    began = time.monotonic()
    subprocess.run(["make", f"SNAKEMAKE=--config runtime={runtime}"], cwd=folder, check=True)
    return folder, time.monotonic() - began


def _again(folder: Path) -> tuple[float, float]:
    """Return the seconds of a `make` that finds all done, and of the Snakemake in it by itself; medians of 3."""
    snakemake = [".venvs/workflow/bin/snakemake", "--cores", "all", "--quiet", "all", "--config", "runtime=host"]
    make = ["make", "SNAKEMAKE=--config runtime=host"]
    taken: dict[str, list[float]] = {"make": [], "snakemake": []}
    for _ in range(3):
        for name, command in (("make", make), ("snakemake", snakemake)):
            began = time.monotonic()
            subprocess.run(command, cwd=folder, capture_output=True, check=True)
            taken[name].append(time.monotonic() - began)
    return statistics.median(taken["make"]), statistics.median(taken["snakemake"])


def _digests(results: Path) -> dict[str, str]:
    return {str(path.relative_to(results)): file_digest(path) for path in artifacts(results)}


def _rows(benchmarks: Path) -> list[tuple[str, float, float, float]]:
    rows = []
    for path in sorted(benchmarks.rglob("*.tsv")):
        with open(path) as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        step = path.relative_to(benchmarks).with_suffix("").as_posix()
        rows.append((step, float(row["s"]), _number(row["cpu_time"]), _number(row["max_rss"])))
    return sorted(rows, key=lambda row: -row[1])


def _number(text: str) -> float:
    return float(text) if text not in ("-", "NA", "") else 0.0


def _table(
    rows: list[tuple[str, float, float, float]],
    seconds: list[float],
    again: tuple[float, float],
    artifacts: int,
    different: list[str],
    scores: dict[str, dict],
) -> str:
    lines = [
        "# The whole embedded job",
        "",
        f"`make` in clean clones, {os.cpu_count()} cores, environments included: "
        + ", ".join(f"{taken:.0f} s" for taken in seconds[:2])
        + (f"; in containers, with Snakemake's environment alone: {seconds[2]:.0f} s." if seconds[2:] else "."),
        f"One more `make`, everything verified: {again[0]:.1f} s, of which Snakemake by itself {again[1]:.1f} s.",
        f"{artifacts} artifacts in results/ (attestations aside); different: {', '.join(different) or 'none'}.",
        "",
        "| step | wall s | CPU s | peak MB |",
        "|---|---:|---:|---:|",
        *(f"| {step} | {wall:.1f} | {cpu:.1f} | {memory:.0f} |" for step, wall, cpu, memory in rows),
        "",
    ]
    for adapter, score in sorted(scores.items()):
        base, tuned = score["base"]["rougeL"], score["adapter"]["rougeL"]
        lines.append(
            f"{adapter}: ROUGE-L {base['mean']:.1f} [{base['low']:.1f}, {base['high']:.1f}] → "
            f"{tuned['mean']:.1f} [{tuned['low']:.1f}, {tuned['high']:.1f}] on {score['records']} test records."
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
