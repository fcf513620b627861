"""Write titles with the 8B shape on one GPU, by the project's own evaluation code, and print what they cost.

    python bench/h100_titles.py TOKENIZER PROMPTS [TITLES [TOKENS [BATCH_TOKENS]]]

PROMPTS are real ones, {id, input, output} by line, TOKENIZER is a folder with tokenizer.json and what lies beside it.
Base and adapter, rank 16 on all seven modules, are random. Random weights write the end token hardly ever: every title
has TOKENS tokens (default: 64). The base's and the adapter's titles are written twice, BATCH_TOKENS at once: the second
time is without what a GPU does only once, and must give the same titles.
"""

import hashlib
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

DEFAULTS = (128, 64, 65536)


class Counting:
    """A tokenizer that counts the tokens it is given, and digests them."""

    def __init__(self, tokenizer: Any) -> None:
        self.eos_token_id, self.made, self.digest = tokenizer.eos_token_id, 0, hashlib.sha256()
        self._tokenizer = tokenizer

    def decode(self, tokens: list[int], **how: bool) -> str:
        """Return the tokenizer's text."""
        self.made += len(tokens)
        self.digest.update(f"{tokens}\n".encode())
        return self._tokenizer.decode(tokens, **how)


def main() -> None:
    """Load, answer, print a table."""
    tokenizer, prompts, *numbers = sys.argv[1:]
    titles, most, together = (*map(int, numbers), *DEFAULTS[len(numbers) :])
    import torch
    from h100_base import RandomBase
    from h100_tune import MODULES
    from peft import LoraConfig, get_peft_model

    from adapter_build.kernels.determinism import make_repeatable
    from adapter_build.models.answer_tokens import fit_prompt
    from adapter_build.records.prompts import read_prompts

    make_repeatable(torch.get_num_threads())
    began = time.perf_counter()
    base = RandomBase(tokenizer)
    model = get_peft_model(base.model, LoraConfig(r=16, lora_alpha=32, target_modules=MODULES, init_lora_weights=False))
    room = model.config.max_position_embeddings - most
    rows = read_prompts(Path(prompts), titles)
    tokens = [fit_prompt(base.tokenizer, row["input"], room)[0] for row in rows]
    lengths = sorted(map(len, tokens))
    print(f"{len(rows)} prompts of {lengths[0]} to {lengths[-1]} tokens, {sum(lengths)} in all, on {base.model.device}")
    print(f"loaded in {time.perf_counter() - began:.0f} s, {_mebibytes()} MiB")
    print("| titles of | time | s | titles | made tokens | made tokens/s | peak memory of the card, MiB | sha256 |")
    print("|---|---|---:|---:|---:|---:|---:|---|")
    with torch.no_grad():
        for time_of in ("first", "second"):
            with model.eval().disable_adapter():
                print(_row(f"base | {time_of}", model, base.tokenizer, tokens, most, together), flush=True)
            print(_row(f"adapter | {time_of}", model, base.tokenizer, tokens, most, together), flush=True)


def _row(name: str, model: Any, tokenizer: Any, prompts: list[list[int]], most: int, together: int) -> str:
    """Answer all prompts and return a row of the table."""
    import torch

    from adapter_build.core.progress import Progress
    from adapter_build.evaluation.answers import answer_texts

    counting = Counting(tokenizer)
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began = time.perf_counter()
    with Progress("titles", len(prompts)) as bar:
        texts = answer_texts(model, counting, prompts, most, together, bar)
    took = time.perf_counter() - began
    made, digest = counting.made, counting.digest.hexdigest()[:12]
    return f"| {name} | {took:.2f} | {len(texts)} | {made} | {made / took:.0f} | {_mebibytes()} | `{digest}` |"


def _mebibytes() -> int:
    """Return the peak of the GPU's memory."""
    import torch

    return torch.cuda.max_memory_allocated() >> 20


if __name__ == "__main__":
    main()
