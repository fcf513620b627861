"""Loss of a real base's adapter by rounding to FP8, and equality of a GPU's bytes in two runs and after a kill -9.

    python bench/h100_rounding.py NEMO PROMPTS [SEEDS]

NEMO is a base's .nemo file, PROMPTS are real ones, of which the last 200 are kept for validation. Each way is tuned for
200 steps of 16 records, those of SEEDED with seeds 1 to SEEDS (default: 3), for what a seed alone does. Beside these
losses is that of the checkpoint, which is of the lowest one, on the base in full: so it is served.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from h100_tune import MODULES, REAL, number, options, tune

from adapter_build.core.digests import file_digest

KEPT = 200
SETTINGS = {
    **REAL, "max-steps": 200, "global-batch-size": 16, "validation-interval": 50, "validation-limit": 0,
    "sequence-length": 768, "learning-rate": 1e-3,
}  # fmt: skip
SAVED = 20  # steps after which a run's state is saved
KILLED = "step 100: "  # what its log says before
SEEDED: dict[str, dict[str, Any]] = {
    "in full": {},
    "products in FP8": {"products": "fp8"},
    "weights held in FP8": {"weights": "fp8"},
}
WAYS: dict[str, dict[str, Any]] = {
    "in full, again": {},
    "fused layers without graphs": {"kernels": "fused"},
    "plain layers": {"kernels": "plain"},
    "fastest attention": {"attention": "fastest"},
    "products in FP8, again": {"products": "fp8"},
}


def main() -> None:
    """Print a row for each way and seed."""
    base, prompts, *seeds = sys.argv[1:]
    lines = Path(prompts).read_text(encoding="utf-8").splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as folder:
        train, validation = Path(folder) / "train.jsonl", Path(folder) / "validation.jsonl"
        train.write_text("".join(lines[:-KEPT]), encoding="utf-8")
        validation.write_text("".join(lines[-KEPT:]), encoding="utf-8")
        files = Path(base), train, validation, Path(folder) / "adapter.nemo"
        kept = files[3].with_name("kept")
        resumed = {"resume": kept, "checkpoint-interval": SAVED}
        with _tuning(*files, **SETTINGS, **resumed) as killed:
            in_full = InFull(files[0], validation)
            if not any(line.startswith(KILLED) for line in killed.stdout):
                sys.exit(f"it ended before it was killed, with {killed.wait()}")
            killed.kill()
        print("| | seed | loss after 50, 100, 150 and 200 steps | on the base in full | tokens/s | adapter |")
        print("|---|---:|---|---:|---:|---|")
        wanted: dict[int, tuple[float, float]] = {}
        others = {"killed at step 100, and resumed": resumed, **WAYS}
        for way, changes, seed in _runs(int(*seeds or ["3"]), others):
            try:
                said = tune(*files, **{**SETTINGS, **changes, "seed": seed})
            except Exception as fault:  # one way of many: the others are still worth having
                print(f"| {way} | {seed} | failed: {fault} | | | |", flush=True)
                continue
            rows = map(json.loads, files[3].with_suffix(".metrics.jsonl").read_text().splitlines())
            losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
            found = losses[-1], in_full.loss(files[3])
            wanted.setdefault(seed, found)
            more = [f"{100 * (ours / right - 1):+.2f} %" for ours, right in zip(found, wanted[seed], strict=True)]
            print(
                f"| {way} | {seed} | {', '.join(f'{loss:.4f}' for loss in losses)} ({more[0]}) | {found[1]:.4f}"
                f" ({more[1]}) | {number(said, 'tokens per second')} | `{file_digest(files[3])[:12]}` |",
                flush=True,
            )
            if "resume" in changes:
                print(next(line for line in said.splitlines() if line.startswith("resumed")), file=sys.stderr)


def _runs(seeds: int, others: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Yield ways, what they change, and seeds, the way that others are compared with first."""
    for seed in range(1, seeds + 1):
        yield from ((way, changes, seed) for way, changes in SEEDED.items())
    yield from ((way, changes, 1) for way, changes in others.items())


def _tuning(*files: Path, **settings: Any) -> subprocess.Popen[str]:
    """Begin to tune in a process of its own."""
    settings["resume"].mkdir()
    script = Path(__file__).parents[1] / "scripts/tune_adapter.py"
    return subprocess.Popen([sys.executable, script, *options(*files, **settings)], stdout=subprocess.PIPE, text=True)


class InFull:
    """The base as it is served, and the records that were kept."""

    def __init__(self, base: Path, validation: Path) -> None:
        import torch
        from peft import LoraConfig, get_peft_model

        from adapter_build.models.answer_tokens import encode
        from adapter_build.models.hf_causal_lm import HFCausalLM
        from adapter_build.records.prompts import read_prompts

        restored = HFCausalLM.restore(base)
        length = SETTINGS["sequence-length"]
        self._examples = [encode(restored.tokenizer, row, length, validation) for row in read_prompts(validation)]
        lora = LoraConfig(r=16, lora_alpha=32, target_modules=MODULES)
        self._model = get_peft_model(restored.model.to("cuda", torch.bfloat16), lora, autocast_adapter_dtype=False)

    def loss(self, adapter: Path) -> float:
        """Return the mean loss of the answers' tokens with a checkpoint's adapter."""
        import torch
        from peft import set_peft_model_state_dict
        from safetensors.torch import load

        from adapter_build.models.nemo_archive import read_member

        weights = load(read_member(adapter, "adapter_model.safetensors"))
        wrong = set_peft_model_state_dict(self._model, weights).unexpected_keys
        assert not wrong, wrong
        total, count = 0.0, 0
        for example in self._examples:
            tokens = torch.tensor([example.tokens], device="cuda")
            with torch.inference_mode():
                logits = self._model(input_ids=tokens[:, :-1]).logits[0, example.prompt - 1 :].float()
            answer = tokens[0, example.prompt :]
            total += torch.nn.functional.cross_entropy(logits, answer, reduction="sum").item()
            count += len(answer)
        return total / count


if __name__ == "__main__":
    main()
