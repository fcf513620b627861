"""Tune the shape of Llama-3.1-8B in each way on one GPU, by the project's own tune_adapter, and print a row for each.

    python bench/h100_tune.py PROMPTS TOKENIZER [WAY …]

PROMPTS are real ones, {id, input, output} by line, TOKENIZER is a folder with tokenizer.json and what lies beside it.
One process for all ways: nemo_toolkit takes half a minute to import. The base's weights are drawn anew for each, on
the GPU; restoring them from a .nemo file is left out. Speed leaves out the first step. Beside memory's peak is what
gpu_memory.py counted before; the adapter is named by its sha256.
"""

import contextlib
import gc
import io
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from h100_base import SHAPE, RandomBase

from adapter_build.core.digests import file_digest
from adapter_build.models.nemo_archive import CONFIG, write_archive

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COMMON = {
    "rank": 16, "alpha": 32, "dropout": 0, "learning-rate": 1e-4, "validation-interval": 0, "validation-limit": 8,
    "patience": 0, "seed": 1, "threads": 8, "micro-batch-size": 1,
}  # fmt: skip
REAL = {"kernels": "graphed", "pack-length": 4096, "global-batch-size": 48, "max-steps": 14, "sequence-length": 1024}
FULL = {**REAL, "global-batch-size": 64, "max-steps": 10, "sequence-length": 256}
ONE = {**FULL, "global-batch-size": 4, "sequence-length": 4096}
EACH = {**REAL, "kernels": "plain", "pack-length": 0, "global-batch-size": 16, "max-steps": 5}
SAID = ("tokens per second", "MiB of the GPU's memory", "MiB were estimated")  # units of a log's numbers
WAYS: dict[str, dict[str, Any]] = {
    "real questions, packs of 4,096": REAL,
    "real questions, packs of 8,192": {**REAL, "pack-length": 8192},
    "real questions, packs of 8,192, FP8": {**REAL, "pack-length": 8192, "products": "fp8"},
    "4,096 full": FULL,
    "4,096 full, again": FULL,
    "4,096 full, FP8": {**FULL, "products": "fp8"},
    "8,192 full, FP8": {**FULL, "pack-length": 8192, "global-batch-size": 128, "max-steps": 6, "products": "fp8"},
    "real questions, packs of 8,192, recomputed": {**REAL, "pack-length": 8192, "activations": "recompute"},
    "real questions, packs of 4,096, recomputed, weights held in FP8": {
        **REAL,
        "activations": "recompute",
        "weights": "fp8",
    },
    "one record of 4,096, fastest attention": {**ONE, "attention": "fastest"},
    "real questions one by one, plain layers": EACH,
    "real questions, micro-batches of 4, plain layers": {**EACH, "micro-batch-size": 4},
}


def main() -> None:
    """Run the ways."""
    prompts, tokenizer, *ways = sys.argv[1:]
    import torch

    from adapter_build.models.hf_causal_lm import HFCausalLM

    with tempfile.TemporaryDirectory() as folder:
        files = {False: Path(prompts), True: _long(Path(prompts), Path(folder) / "long.jsonl")}
        base = Path(folder) / "base.nemo"
        members: dict[str, Path | bytes] = {path.name: path for path in Path(tokenizer).iterdir()}
        write_archive(base, {**members, CONFIG: b"format: hf\n", "config.json": json.dumps(SHAPE).encode()})
        HFCausalLM.restore = lambda _: RandomBase(tokenizer)
        print("| | tokens/s | peak memory of the card, MiB | counted | adapter |\n|---|---:|---:|---:|---|")
        for way in ways or WAYS:
            file = files[WAYS[way]["sequence-length"] in (256, 4096)]
            adapter = Path(folder) / "adapter.nemo"
            torch.cuda.reset_peak_memory_stats()
            try:
                said = tune(base, file, file, adapter, **WAYS[way])
            except Exception as fault:  # one way of many: the others are still worth having
                print(f"| {way} | failed: {fault} | | | |", flush=True)
            else:
                found = [number(said, unit) for unit in SAID]
                print(f"| {way} | {' | '.join(found)} | `{file_digest(adapter)[:12]}` |", flush=True)
            gc.collect()
            torch.cuda.empty_cache()


def tune(base: Path, train: Path, validation: Path, adapter: Path, **settings: Any) -> str:
    """Run tune_adapter in this process and return its log."""
    import tune_adapter

    sys.argv = ["tune_adapter.py", *options(base, train, validation, adapter, **settings)]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        tune_adapter.main()
    return said.getvalue()


def options(base: Path, train: Path, validation: Path, adapter: Path, **settings: Any) -> list[str]:
    """Return tune_adapter's options; the metrics lie beside the adapter."""
    files = {"base": base, "train": train, "validation": validation, "checkpoint": adapter}
    files["metrics"] = adapter.with_suffix(".metrics.jsonl")
    named = {**COMMON, **settings, **files}
    return ["--target-modules", *MODULES, *(word for name in named for word in (f"--{name}", str(named[name])))]


def number(said: str, unit: str) -> str:
    """Return the number that a log says before a unit, or a dash."""
    match = re.search(rf"(\d+) {unit}", said)
    return match[1] if match else "-"


def _long(prompts: Path, path: Path) -> Path:
    """Write prompts of more than 4,096 tokens, each of twenty real questions, and return the file."""
    rows = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    with open(path, "w", encoding="utf-8") as file:
        for at in range(len(rows)):
            some = [rows[number % len(rows)] for number in range(at, at + 20)]
            file.write(json.dumps({**some[0], "input": "\n".join(row["input"] for row in some)}) + "\n")
    return path


if __name__ == "__main__":
    main()
