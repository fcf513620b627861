"""Load an exported adapter with PEFT; it is whole and changes the logits."""

import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

base, adapter = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
state = model.state_dict()
saved = load_file(f"{adapter}/adapter_model.safetensors")
assert len(saved) == 2 * 6 * 2, list(saved)
for name, weight in saved.items():
    assert torch.equal(weight, state[name.replace(".weight", ".default.weight")]), name
tokens = torch.tensor([[5, 6, 7, 8]])
with torch.no_grad():
    tuned = model(tokens).logits
    with model.disable_adapter():
        plain = model(tokens).logits
assert not torch.equal(tuned, plain)
print("ok", model.active_peft_config.r, model.active_peft_config.lora_alpha)
