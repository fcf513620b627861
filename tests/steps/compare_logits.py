"""Compare the logits of a .nemo base with those of its Hugging Face files."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapter_build.models.hf_causal_lm import HFCausalLM

nemo, folder = map(Path, sys.argv[1:])
restored, source = HFCausalLM.restore(nemo), AutoModelForCausalLM.from_pretrained(folder)
tokens = torch.tensor([AutoTokenizer.from_pretrained(folder).encode("The tenant, in 2023, may not sublet.")])
assert restored.tokenizer.encode("The tenant, in 2023, may not sublet.") == tokens[0].tolist()
with torch.no_grad():
    theirs, ours = source.eval()(tokens).logits, restored.eval().model(tokens).logits
print(torch.equal(theirs, ours), theirs.std().item() > 0.1, type(restored).__mro__[1].__name__)
