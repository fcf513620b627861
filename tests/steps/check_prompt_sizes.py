"""Compare the sizes that are estimated before tuning with those of encoded prompts."""

import sys
from pathlib import Path

from transformers import AutoTokenizer

from adapter_build.core.faults import BadInput
from adapter_build.models.answer_tokens import encode
from adapter_build.records.prompts import read_prompts
from adapter_build.tuning.gpu_preflight import Size, _sizes, estimate, preflight

base, folder, train = map(Path, sys.argv[1:])
rows = read_prompts(train)
tokenizer = AutoTokenizer.from_pretrained(folder)
for length in (40, 200):
    wanted = [encode(tokenizer, row, length, train) for row in rows]
    assert _sizes(base, rows, length) == [Size(len(one.tokens), len(one.tokens) - one.prompt) for one in wanted]
options = {
    "base": base,
    "sequence_length": 96,
    "max_steps": 9,
    "global_batch_size": 4,
    "micro_batch_size": 2,
    "seed": 7,
    "nodes": 1,
    "rank": 8,
    "target_modules": ["q_proj"],
    "dropout": 0.0,
    "pack_length": 0,
    "kernels": "plain",
    "products": "full",
    "activations": "keep",
    "weights": "full",
    "attention": "repeatable",
}
assert (estimate(options, rows, 2**30, "a card") or 0) > 60
assert preflight(options, rows, 2**30, "a card") is None  # it says so, and hands nothing on
try:
    preflight(options, rows, 2**26, "a card")
    raise SystemExit("it was not refused")
except BadInput as fault:
    assert "a card has 64 MiB free" in str(fault), fault
print("ok")
