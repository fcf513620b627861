"""Encode a long and a short prompt; what is cut, what is learned, and its loss."""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapter_build.models.answer_tokens import IGNORED, collate, encode

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()
text = "Write a title.\nQUESTION: " + "may the tenant sublet " * 9 + "\nTITLE:"
rows = [{"input": text, "output": "The tenant's right"}, {"input": "Short\nTITLE:", "output": "A will"}]
whole, short = (encode(tokenizer, row, 200, "x") for row in rows)

# The prompt's tokens are what a server sees; the answer is the rest with its space; the end token ends it.
assert whole.tokens[: whole.prompt] == tokenizer.encode(text) and whole.cut == 0
assert tokenizer.decode(whole.tokens[whole.prompt :]) == " The tenant's right<|im_end|>"
assert whole.tokens[-1] == model.generation_config.eos_token_id

# Cut: the beginning, the last line and the answer stay.
cut = encode(tokenizer, rows[0], 40, "x")
assert len(cut.tokens) == 40 and cut.cut == len(whole.tokens) - 40
assert cut.tokens[cut.prompt :] == whole.tokens[whole.prompt :]
assert tokenizer.decode(cut.tokens[: cut.prompt]).endswith("\nTITLE:")
assert cut.tokens[:8] == whole.tokens[:8]

# The loss over the kept positions is the loss over all positions with everything but the answers masked.
pad = tokenizer.pad_token_id
batch = {name: torch.tensor(values) for name, values in collate([whole, short], pad).items()}
kept = model(input_ids=batch["input_ids"], logits_to_keep=batch["logits_to_keep"]).logits
loss = torch.nn.functional.cross_entropy(kept.flatten(0, 1), batch["labels"].flatten())
sums, count = 0.0, 0
for example in (whole, short):
    logits = model(torch.tensor([example.tokens])).logits[0]
    for place in range(example.prompt, len(example.tokens)):
        sums -= torch.log_softmax(logits[place - 1], -1)[example.tokens[place]].item()
        count += 1
assert count == (batch["labels"] != IGNORED).sum()
assert abs(loss.item() - sums / count) < 1e-4, (loss.item(), sums / count)

for length in (5, 12):
    try:
        encode(tokenizer, rows[0], length, "x")
        raise SystemExit("an answer that does not fit was taken")
    except Exception as fault:
        assert "sequence_length" in str(fault) and type(fault).__name__ == "BadInput", fault
print("ok")
