"""Count the steps that are executed after each change, on the tiny chain; writes bench/rebuild_table.md.

    .venvs/workflow/bin/python bench/rebuild_table.py

Beside the step runner stand Snakemake by itself, the jobs that the same rules start after the same change when nothing
comes from a store, which is what its dry run lists, and DVC with the same commands and the same declared files.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dvc_pipeline import install, repro
from rebuild_rows import ADAPTER, ROWS, executed, invocations

ROOT = Path(__file__).parents[1]
TARGETS = [f"results/loras/{ADAPTER}/README.md", f"results/evaluation/{ADAPTER}.json", "results/curated/ledger.parquet"]
CONFIG = ["--configfile", "tests/tiny/config.yaml"]
NEW = ["results/loras/law-answer/README.md", "results/evaluation/law-answer.json"]


def main() -> None:
    """Build once, then apply every change to a copy of that build."""
    rows = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        built = Path(scratch) / "built" / "checkout"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(built)], check=True)
        (built / ".venvs").symlink_to(ROOT / ".venvs")
        make_base = [ROOT / ".venvs/tune/bin/python", built / "tests/tiny/make_base.py", built / "tests/tiny/base"]
        subprocess.run(make_base, check=True)
        _snakemake(built, TARGETS)
        total = len(invocations(built))
        dvc = install(Path(scratch) / "dvc")
        with_dvc = Path(scratch) / "with-dvc" / "checkout"
        shutil.copytree(built, with_dvc, symlinks=True)
        shutil.rmtree(with_dvc / "results")
        repro(dvc, with_dvc, CONFIG, TARGETS)
        for number, row in enumerate(ROWS):
            copy = Path(scratch) / str(number) / "checkout"
            shutil.copytree(built, copy, symlinks=True)
            before = invocations(copy)
            folder = row.change(copy)
            targets = TARGETS + (NEW if "adapter added" in row.name else [])
            options = ["--config", *row.options] if row.options else []
            alone = _pending(folder, targets)
            _snakemake(folder, targets, *options)
            ran = executed(folder, before)
            shutil.rmtree(copy.parent)
            shutil.copytree(with_dvc, copy, symlinks=True)
            by_dvc = "n/a" if row.options else repro(dvc, row.change(copy), CONFIG, targets)
            rows.append((row.name, len(row.executed), len(ran), alone, by_dvc))
            print(f"{row.name}: {len(ran)} executed, Snakemake by itself {alone}, DVC {by_dvc}", flush=True)
            if ran != row.executed:
                print(f"  not as expected: {sorted(ran ^ row.executed)}", file=sys.stderr)
            shutil.rmtree(copy.parent)
    lines = [
        "# What is executed again",
        "",
        f"The tiny chain up to the model store, {total} steps. Executed: not skipped and not from the store.",
        "n/a: DVC needs a remote of its own for that.",
        "",
        "| change | expected | executed | Snakemake by itself | DVC |",
        "|---|---:|---:|---:|---:|",
        *("| " + " | ".join(map(str, row)) + " |" for row in rows),
        "",
    ]
    (ROOT / "bench/rebuild_table.md").write_text("\n".join(lines))
    raise SystemExit(any(row[1] != row[2] for row in rows))


def _snakemake(folder: Path, targets: list[str], *options: str) -> str:
    command = [str(ROOT / ".venvs/workflow/bin/snakemake"), "--cores", "2", *CONFIG]
    done = subprocess.run([*command, *options, "--", *targets], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout + done.stderr


def _pending(folder: Path, targets: list[str]) -> int:
    """Return how many steps Snakemake would start; installing an environment is none."""
    planned = _snakemake(folder, targets, "--dry-run", "--quiet", "progress")
    return len([name for name in re.findall(r"^rule (\w+):", planned, re.MULTILINE) if name != "environment"])


if __name__ == "__main__":
    main()
