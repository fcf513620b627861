"""What rounding to FP8 does to the loss of a real base, and whether a GPU gives the same bytes twice.

    python bench/h100_rounding.py NEMO PROMPTS

NEMO is a base's .nemo file, PROMPTS are real ones, of which the last hundred are kept for validation. Each way is tuned
for 200 steps of 16 records, the first two are the same.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from h100_tune import REAL, tune

KEPT = 100
SETTINGS = {
    **REAL, "max-steps": 200, "global-batch-size": 16, "validation-interval": 50, "validation-limit": 0,
    "sequence-length": 768,
}  # fmt: skip
WAYS = {
    "in full": {},
    "in full, again": {},
    "products in FP8": {"products": "fp8"},
    "weights held in FP8": {"weights": "fp8"},
    "fused layers without graphs": {"kernels": "fused"},
    "plain layers": {"kernels": "plain"},
    "fastest attention": {"attention": "fastest"},
}


def main() -> None:
    """Print a row for each way."""
    base, prompts = map(Path, sys.argv[1:])
    lines = prompts.read_text(encoding="utf-8").splitlines(keepends=True)
    print("| | validation loss after 50, 100, 150 and 200 steps | beside in full | tokens/s | adapter |")
    print("|---|---|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        train, validation = Path(folder) / "train.jsonl", Path(folder) / "validation.jsonl"
        train.write_text("".join(lines[:-KEPT]), encoding="utf-8")
        validation.write_text("".join(lines[-KEPT:]), encoding="utf-8")
        wanted = None
        for way, changes in WAYS.items():
            adapter = Path(folder) / "adapter.nemo"
            try:
                found = tune(base, train, validation, adapter, **{**SETTINGS, **changes})
            except Exception as fault:  # one way of many: the others are still worth having
                print(f"| {way} | failed: {fault} | | | |", flush=True)
                continue
            rows = map(json.loads, adapter.with_suffix(".metrics.jsonl").read_text().splitlines())
            losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
            wanted = wanted or losses[-1]
            print(
                f"| {way} | {', '.join(f'{loss:.4f}' for loss in losses)} | {100 * (losses[-1] / wanted - 1):+.3f} % |"
                f" {found['tokens per second']} | {hashlib.sha256(adapter.read_bytes()).hexdigest()[:12]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
