"""Tune the 8B shape in each way on one GPU, by the project's own script, and print a row for each.

    python bench/h100_tune.py NEMO PROMPTS [WAY …]

PROMPTS are real ones, {id, input, output} by line. Speed leaves out the first step. A way is a name of WAYS.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COMMON = {
    "rank": 16, "alpha": 32, "dropout": 0, "learning_rate": 1e-4, "validation-interval": 0, "validation-limit": 8,
    "patience": 0, "seed": 1, "threads": 8, "micro-batch-size": 1,
}  # fmt: skip
PACKED = {"kernels": "graphed", "pack-length": 4096, "global-batch-size": 48, "max-steps": 14, "sequence-length": 1024}
FULL = {"sequence-length": 4096, "global-batch-size": 4, "max-steps": 6, "pack-length": 4096}
WAYS = {
    "records one by one": {"sequence-length": 1024, "global-batch-size": 32, "max-steps": 3},
    "packs of 4,096, plain layers": {**PACKED, "kernels": "plain"},
    "packs of 4,096, fused layers": {**PACKED, "kernels": "fused"},
    "packs of 4,096": PACKED,
    "packs of 8,192": {**PACKED, "pack-length": 8192},
    "packs of 8,192, recomputed": {**PACKED, "pack-length": 8192, "activations": "recompute"},
    "packs of 4,096, FP8": {**PACKED, "products": "fp8"},
    "packs of 8,192, FP8": {**PACKED, "pack-length": 8192, "products": "fp8"},
    "one record of 4,096, plain layers": {**FULL, "kernels": "plain"},
    "one record of 4,096": {**FULL, "kernels": "graphed"},
    "one record of 4,096, FP8": {**FULL, "kernels": "graphed", "products": "fp8"},
}


def main() -> None:
    """Run the ways."""
    nemo, prompts, *ways = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        files = {False: Path(prompts), True: _long(Path(prompts), Path(folder) / "long.jsonl")}
        for way in ways or WAYS:
            settings = {**COMMON, **WAYS[way]}
            file = files[settings["sequence-length"] == 4096]
            print(f"| {way} | {' | '.join(_run(nemo, file, settings, Path(folder)))} |", flush=True)


def _run(nemo: str, prompts: Path, settings: dict, folder: Path) -> list[str]:
    """Return tokens per second, the peak of the GPU's memory, the packs of a step and the seconds of the whole."""
    options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    files = ["--checkpoint", folder / "adapter.nemo", "--metrics", folder / "metrics", "--target-modules", *MODULES]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/tune_adapter.py", "--base", nemo, "--train", prompts, "--validation", prompts,
         *files, *options],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        return [f"failed: {(done.stderr or done.stdout)[-1500:]}"]
    found = [re.search(pattern, done.stdout) for pattern in (r"(\d+) tokens per second", r"(\d+) MiB", r"(\d+) packs")]
    return [*(match[1] if match else "-" for match in found), f"{time.monotonic() - began:.0f} s"]


def _long(prompts: Path, path: Path) -> Path:
    """Write prompts of more than 4,096 tokens, each of twenty real questions, and return the file."""
    rows = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    with open(path, "w", encoding="utf-8") as file:
        for at in range(0, len(rows), 20):
            some = rows[at : at + 20]
            text = "\n".join(row["input"] for row in some)
            file.write(json.dumps({**some[-1], "input": text}) + "\n")
    return path


if __name__ == "__main__":
    main()
