"""Titles of a finished embedded build's adapter on the CPU: one at a time and many at once, in CPU seconds.

    .venvs/tune/bin/python bench/titles_rate.py [RESULTS [PROMPTS]]

RESULTS is a build (default: results); its first PROMPTS training records (default: 12) are answered by its adapter.
Writes bench/titles_rate.md; exit code 1 if a title is not the one that transformers' generate writes alone.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # a thread that waits would spin, and its seconds would count

from adapter_build.core.progress import Progress  # noqa: E402
from adapter_build.evaluation.answers import answer_texts, load  # noqa: E402
from adapter_build.kernels.determinism import make_repeatable  # noqa: E402
from adapter_build.models.answer_tokens import first_line  # noqa: E402
from adapter_build.records.prompts import read_prompts  # noqa: E402

MOST, THREADS = 25, 1
ALONE = "transformers' generate, one at a time"
WAYS = {"one at a time": 1, "8,192 tokens at once": 8192}  # evaluate.batch_tokens


def main() -> None:
    """Answer in each way, compare, write the table."""
    results, count = (*sys.argv[1:], *("results", "12")[len(sys.argv) - 1 :])
    make_repeatable(THREADS)
    adapter = next(Path(results, "adapters").iterdir())
    base = next(path.parent for path in Path(results, "base").glob("*/model.safetensors"))
    rows = read_prompts(Path(results, "prompts", adapter.name, "train.jsonl"), int(count))
    model, tokenizer = load(base, adapter)
    prompts = [tokenizer.encode(row["input"]) for row in rows]
    taken = {ALONE: _timed(lambda: _alone(model, tokenizer, prompts))}
    for way, together in WAYS.items():
        with Progress(way, len(prompts)) as bar:
            taken[way] = _timed(lambda: answer_texts(model, tokenizer, prompts, MOST, together, bar))  # noqa: B023
    titles, seconds = taken[ALONE]
    equal = {way: sum(map(str.__eq__, titles, others)) for way, (others, _) in taken.items()}
    lines = [
        "# Titles on the CPU, one at a time and many at once",
        "",
        f"`titles_rate.py`: {len(prompts)} prompts of {sum(map(len, prompts))} tokens together, {MOST} new tokens at",
        f"the most, base and adapter of the embedded job, float32, threads: {THREADS}.",
        "",
        f"| | CPU s | of the first | equal titles of {len(prompts)} |",
        "|---|---:|---:|---:|",
        *(f"| {way} | {took:.0f} | {took / seconds:.2f} | {equal[way]} |" for way, (_, took) in taken.items()),
        "",
    ]
    (ROOT / "bench/titles_rate.md").write_text("\n".join(lines))
    print("\n".join(lines))
    sys.exit(any(number != len(prompts) for number in equal.values()))


def _alone(model: Any, tokenizer: Any, prompts: Sequence[list[int]]) -> list[str]:
    """Return the titles that transformers' own code writes."""
    import torch
    from transformers import GenerationConfig

    stop = tokenizer.eos_token_id
    settings = GenerationConfig(max_new_tokens=MOST, do_sample=False, eos_token_id=stop, pad_token_id=stop)
    model.get_base_model().generation_config = settings
    titles = []
    for prompt in prompts:
        with torch.inference_mode():
            made = model.generate(input_ids=torch.tensor([prompt]), generation_config=settings)
        titles.append(first_line(tokenizer.decode(made[0, len(prompt) :], skip_special_tokens=True)))
    return titles


def _timed(compute: Any) -> tuple[list[str], float]:
    """Return what `compute` returns, and the CPU seconds that it took."""
    began = time.process_time()
    return compute(), time.process_time() - began


if __name__ == "__main__":
    main()
