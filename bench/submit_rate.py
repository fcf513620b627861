"""Rate of submitting a sweep's tuning jobs to Slurm: 50, 100 and 200 adapters, on the tests' own cluster.

    .venvs/workflow/bin/python bench/submit_rate.py

As root, with Slurm installed (.ci/run names the packages). Every step is trivial, an empty file for each output, and
all but the tuning run here; Slurm's nodes take no job, so what is timed is Snakemake and sbatch. Writes
bench/submit_rate.md.
"""

import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "tests", "tests/support", "tests/cluster", "tests/containers")]

from conftest import Checkout  # noqa: E402
from slurm_fixtures import Slurm, running  # noqa: E402

ADAPTERS = (50, 100, 200)
HERE = [
    "acquire_raw", "acquire_base", "dequantize_base", "split_records", "curate_split", "collect_ledger",
    "format_prompts", "convert_base",
]  # fmt: skip
SUBMITTED = re.compile(r"^\[(\S+)\] _slurm_rpc_submit_batch_job", re.MULTILINE)


def main() -> None:
    """Send each sweep, and write the table."""
    lines = [
        "# Sending a sweep to Slurm",
        "",
        "From the first tuning job to the last; memory and CPU seconds are those of Snakemake for the whole build, its",
        "local jobs included.",
        "",
        "| adapters | jobs per second | seconds | CPU s | MiB |",
        "|---:|---:|---:|---:|---:|",
    ]
    with running() as slurm:
        slurm.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
        for count in ADAPTERS:
            with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR"), ignore_cleanup_errors=True) as folder:
                seconds, cpu, mebibytes = _send(slurm, count, Path(folder))
            lines.append(f"| {count} | {(count - 1) / seconds:.1f} | {seconds:.1f} | {cpu:.1f} | {mebibytes:.0f} |")
            print(lines[-1], flush=True)
    (ROOT / "bench/submit_rate.md").write_text("\n".join([*lines, ""]))


def _send(slurm: Slurm, count: int, folder: Path) -> tuple[float, float, float]:
    """Return the seconds that the submissions took, and Snakemake's CPU seconds and peak MiB."""
    checkout = Checkout(folder)
    checkout.fill()
    shutil.copy(ROOT / "bench/touch_outputs.py", folder / "scripts/step.py")
    adapters = {f"sweep-{seed:03}": {"prompt": "prompts/law-titlegen.jq", "seed": seed} for seed in range(count)}
    overlay = {"adapters": {"law-titlegen": adapters["sweep-000"], **adapters}, "local_steps": HERE}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(overlay))
    known = len(SUBMITTED.findall(slurm.log()))
    command = checkout.command(
        "--workflow-profile", "profiles/slurm", "--jobs", "1000", "--groups", "tune_adapter=tune", "--quiet", "all",
        "--configfile", "sweep.yaml", "--", *(f"results/checkpoints/{name}.nemo" for name in adapters), tiny=False,
    )  # fmt: skip
    with open(folder / "said", "w+") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        while len(SUBMITTED.findall(slurm.log())) < known + count:
            if process.poll() is not None:
                sys.exit((folder / "said").read_text()[-3000:])
            time.sleep(0.5)
        peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        process.send_signal(signal.SIGINT)
        _, _, used = os.wait4(process.pid, 0)
    slurm.ask("scancel", "--user=root")
    times = [datetime.datetime.fromisoformat(at) for at in SUBMITTED.findall(slurm.log())[known:]]
    return (times[-1] - times[0]).total_seconds(), used.ru_utime + used.ru_stime, int(peak[1]) / 1024


if __name__ == "__main__":
    main()
