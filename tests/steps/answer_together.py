"""Answer prompts one at a time by transformers' own generate, and many at once by ours."""

import json
import sys
from pathlib import Path

import torch

from adapter_build.core.jsonl import read_jsonl
from adapter_build.evaluation import greedy_answers
from adapter_build.evaluation.answers import load

base, adapter, test = sys.argv[1:]
model, tokenizer = load(Path(base), Path(adapter))
prompts = [tokenizer.encode(row["input"]) for row in read_jsonl(test)]
stops = [tokenizer.eos_token_id, prompts[0][-1]]
plain = []
for prompt in prompts:
    made = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt)),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=stops,
        pad_token_id=0,
    )
    plain.append(made[0, len(prompt) :].tolist())
steps, step = [], greedy_answers.AnswerBatch.step
greedy_answers.AnswerBatch.step = lambda batch: (steps.append(len(batch.tokens)), step(batch))  # pyright: ignore[reportAttributeAccessIssue] - counts its calls


def answered(together, chunk, most=12, stops=stops):
    greedy_answers.CHUNK = chunk
    steps.clear()
    found = dict(greedy_answers.answers(model.get_base_model(), prompts, most, stops, together))
    return [found[number] for number in range(len(prompts))], list(steps)


tried = [answered(1, 8192), answered(150, 8192), answered(10**6, 8192), answered(10**6, 40), answered(10**6, 1)]
first, none = answered(10**6, 8192, stops=range(10**4))
print(json.dumps([plain, tried, first, none, answered(10**6, 8192, most=1)]))
