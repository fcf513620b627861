"""Answer each prompt by base and adapter, token by token, without a cache."""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapter_build.core.jsonl import read_jsonl
from adapter_build.models.answer_tokens import first_line

base, adapter, test = sys.argv[1:]
tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)


def answer(text):
    tokens = tokenizer.encode(text)
    start = len(tokens)
    for _ in range(8):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        if tokens[-1] == tokenizer.eos_token_id:
            break
    return first_line(tokenizer.decode(tokens[start:], skip_special_tokens=True))


inputs = [row["input"] for row in read_jsonl(test)][:9]
plain = [answer(text) for text in inputs]
model = PeftModel.from_pretrained(model, adapter).eval()
print(json.dumps([plain, [answer(text) for text in inputs]]))
