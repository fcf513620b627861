"""Cost of curating ever more records: 25 thousand, 200 thousand and a million, in shards of 25 thousand.

    .venvs/workflow/bin/python bench/curate_rate.py POSTS [RECORDS …]

POSTS are real posts in the raw schema, also packed; they are repeated under new ids. As many shards run at once as
there are processors. Writes bench/curate_rate.md.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from by_turns import cpu_seconds

ROOT = Path(__file__).parents[1]
CURATE = ROOT / ".venvs/curate/bin/python"
SHARD = 25_000
RECORDS = (25_000, 200_000, 1_000_000)
BOUNDS = ["--filters", "on", "--min-words", "50", "--max-words", "500", "--min-score", "0", "--null-score", "keep"]


def main() -> None:
    """Curate each number of records, and write the table."""
    posts, *counts = sys.argv[1:]
    counts = [int(count) for count in counts] or list(RECORDS)
    lines = [
        "# Curating ever more records",
        "",
        f"Real posts, repeated under new ids; `curate_split.py` on shards of {SHARD:,} records, and `join_shards.py`.",
        f"{os.cpu_count()} at once. CPU seconds are of all processes, imports among them.",
        "",
        "| records | shards | wall s | CPU s | records per CPU s |",
        "|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        rows = _rows(Path(posts).absolute(), Path(folder))
        for count in counts:
            wall, cpu, shards = _curate(rows, count, Path(folder))
            lines.append(f"| {count:,} | {shards} | {wall:.0f} | {cpu:.0f} | {count / cpu:.0f} |")
            print(lines[-1], flush=True)
    (ROOT / "bench/curate_rate.md").write_text("\n".join([*lines, ""]))


def _rows(posts: Path, folder: Path) -> list[dict]:
    """Return the records of the training split."""
    splits = [word for name in ("train", "val", "test", "unusable") for word in (f"--{name}", str(folder / name))]
    _run("acquire_raw", "--kind", "file", "--source", str(posts), "--schema", "schemas/raw-record.schema.json",
         "--records", str(folder / "raw"))  # fmt: skip
    _run("split_records", "--records", str(folder / "raw"), "--method", "hash", "--seed", "42", *splits)
    with open(folder / "train", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _curate(rows: list[dict], count: int, folder: Path) -> tuple[float, float, int]:
    """Return the wall and CPU seconds, and the number of shards."""
    shards = max(1, count // SHARD)
    records = folder / "records"
    with open(records, "w", encoding="utf-8") as file:
        for number in range(count):
            row = rows[number % len(rows)] | {"id": str(number), "position": number}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    parts, ledgers = ([str(folder / f"{shard}.{kind}") for shard in range(shards)] for kind in ("jsonl", "parquet"))

    def curate(shard: int) -> None:
        _run("curate_split", "--split", "train", "--records", str(records), *BOUNDS, "--shard", str(shard),
             "--shards", str(shards), "--curated", parts[shard], "--ledger", ledgers[shard])  # fmt: skip

    before, began = cpu_seconds(), time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(curate, range(shards)))
    _run("join_shards", "--split", "train", "--parts", *parts, "--ledgers", *ledgers,
         "--curated", str(folder / "curated"), "--ledger", str(folder / "ledger"))  # fmt: skip
    return time.monotonic() - began, cpu_seconds() - before, shards


def _run(script: str, *options: str) -> None:
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    subprocess.run([CURATE, f"scripts/{script}.py", *options], cwd=ROOT, env={**os.environ, **one}, check=True)


if __name__ == "__main__":
    main()
