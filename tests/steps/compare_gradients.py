"""Compare the gradients of packs with those of records taken one by one, in double precision."""

import copy
import sys

import torch
from nemo.collections.llm.peft.lora import patch_linear_module
from transformers import AutoModelForCausalLM

from adapter_build.kernels import llama_layer
from adapter_build.kernels.frozen_weight import Frozen
from adapter_build.kernels.packed_attention import NAME
from adapter_build.kernels.packed_loss import PackedModel
from adapter_build.models.answer_tokens import Example
from adapter_build.tuning.prompt_batches import Packs

torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype=torch.float64)
for parameter in model.parameters():
    parameter.requires_grad = False


class Norm(torch.nn.Module):
    # transformers' own goes through float32, and would hide an error of that size
    def __init__(self, norm):
        super().__init__()
        self.weight, self.variance_epsilon = norm.weight, norm.variance_epsilon

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


for layer in model.model.layers:
    layer.input_layernorm, layer.post_attention_layernorm = map(
        Norm, (layer.input_layernorm, layer.post_attention_layernorm)
    )
for name, module in list(model.named_modules()):
    if name.split(".")[-1] in sys.argv[2].split(","):
        patch_linear_module(module, dim=4, alpha=8, dropout=0.0, lora_dtype=torch.float64)
        torch.nn.init.normal_(module.lora_a.weight, std=0.1)
        torch.nn.init.normal_(module.lora_b.weight, std=0.1)


generator = torch.Generator().manual_seed(1)
examples = []
for length, answer in ((40, 5), (7, 2), (93, 11), (25, 1), (3, 1), (61, 4)):
    examples.append(Example(torch.randint(3, 700, (length,), generator=generator).tolist(), length - answer, 0))


def gradients(model):
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found[name], parameter.grad = parameter.grad, None
    return found


class Late(Frozen):
    pass


# One by one, by transformers: each record's mean over its answer tokens, and the mean of these.
total = 0.0
for example in examples:
    tokens = torch.tensor([example.tokens])
    logits = model(input_ids=tokens[:, :-1]).logits[0, example.prompt - 1 :]
    loss = torch.nn.functional.cross_entropy(logits, tokens[0, example.prompt :]) / len(examples)
    loss.backward()
    total += loss.item()
wanted = gradients(model)
assert all(gradient.abs().max() > 0 for gradient in wanted.values())

model.config._attn_implementation = NAME
for kernels in ("plain", "fused", "late"):
    for recompute in (False, True):
        for most in (93, 130, 1000):
            # FP8's way of adding LoRA's products, with weights in full.
            llama_layer.WEIGHTS["full", "full"] = Late if kernels == "late" else Frozen
            computed = copy.deepcopy(model)
            packed = PackedModel(computed, kernels != "plain", recompute)
            data = Packs(examples, examples, most, len(examples))
            sums = 0.0
            for batch in data.train_dataloader():
                batch["weights"] = batch["weights"].double()
                loss = packed.loss(batch) / data.count
                loss.backward()
                sums += loss.item()
            found = gradients(computed)
            assert abs(sums - total) < 1e-6 * total, (sums, total)
            worst = max(((found[name] - wanted[name]).norm() / wanted[name].norm()).item() for name in wanted)
            print(kernels, recompute, most, data.count, worst)
            assert worst < 1e-6, (kernels, recompute, most, worst)
            if data.count == 1:
                # The failing twin: one document of all, so that attention crosses.
                batch["bounds"] = [0, batch["bounds"][-1]]
                (packed.loss(batch)).backward()
                crossed = gradients(computed)
                assert max(((crossed[n] - wanted[n]).norm() / wanted[n].norm()).item() for n in wanted) > 1e-2

model.config.attention_bias = True
try:
    PackedModel(type(model)(model.config), True, False)
    raise SystemExit("a bias was left out")
except Exception as fault:
    assert "LlamaDecoderLayer with self_attn.q_proj.bias" in str(fault) and "set it to plain" in str(fault), fault
print("ok")
