"""Four layers of the 8B shape on one GPU: each way's gradients against float32's, and its time, forward and backward.

    python bench/h100_layers.py

Random weights and tokens, LoRA of rank 16 on every linear layer; packs of 4,096 tokens, of eleven documents and of one.
Where weights are rounded, they are so in all four layers.
"""

import copy
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from h100_base import SHAPE
from nemo.collections.llm.peft.lora import patch_linear_module
from transformers import AutoModelForCausalLM, LlamaConfig

from adapter_build.kernels import packed_loss
from adapter_build.kernels.packed_attention import NAME
from adapter_build.kernels.packed_loss import PackedModel
from adapter_build.models.answer_tokens import Example
from adapter_build.tuning.graphed_loss import GraphedLoss
from adapter_build.tuning.prompt_batches import Packs

LAYERS = 4
PASSES = 12
DOCUMENTS = {"eleven documents": [(401, 15)] * 10 + [(97, 10)], "one document": [(4097, 15)]}  # tokens, the answer's
WAYS: dict[str, dict[str, object]] = {
    "float32": {},
    "plain": {},
    "fused": {},
    "graphed": {},
    "graphed, fastest attention": {"fast": True},
    "graphed, weights held in FP8": {"weights": "fp8"},
    "graphed, FP8": {"products": "fp8"},
    "graphed, FP8, fastest attention": {"products": "fp8", "fast": True},
}


def main() -> None:
    """Print a row for each way and pack."""
    packed_loss.rounded_layers = range
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    base = _model()
    generator = torch.Generator().manual_seed(1)
    exact: dict[str, list[torch.Tensor]] = {}
    print("| pack | layers | loss | gradient's error, median | worst | ms | MiB |\n|---|---|---:|---:|---:|---:|---:|")
    packs = {}
    for name, sizes in DOCUMENTS.items():
        tokens = [torch.randint(3, 100_000, (length,), generator=generator).tolist() for length, _ in sizes]
        examples = [Example(some, len(some) - answer, 0) for some, (_, answer) in zip(tokens, sizes, strict=True)]
        packs[name] = Packs(examples, examples, 4200, len(examples))
    for way, settings in WAYS.items():
        model = copy.deepcopy(base).float() if way == "float32" else copy.deepcopy(base)
        model.config._attn_implementation = NAME
        torch.backends.cuda.enable_cudnn_sdp(way != "float32")  # it would be chosen, and is not deterministic
        packed = PackedModel(model, way.startswith(("fused", "graphed")), recompute=False, **settings)
        for name, data in packs.items():
            batch = {
                key: value.cuda() if torch.is_tensor(value) else value
                for key, value in next(iter(data.train_dataloader())).items()
            }
            computed = GraphedLoss(packed, data.sizes) if "graphed" in way else packed
            loss, gradients = _pass(computed, batch, way)
            if way == "float32":
                exact[name] = gradients
                continue
            errors = sorted(
                ((ours - right).norm() / right.norm()).item()
                for ours, right in zip(gradients, exact[name], strict=True)
            )
            took, memory = _time(computed, batch, way)
            print(
                f"| {name} | {way} | {loss:.4f} | {errors[len(errors) // 2]:.4f} | {errors[-1]:.4f} |"
                f" {1000 * took:.2f} | {memory} |",
                flush=True,
            )
        del model, packed, computed
        torch.cuda.empty_cache()


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    shape = LlamaConfig(**{**SHAPE, "num_hidden_layers": LAYERS})
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(shape, torch_dtype=torch.bfloat16)
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if name.endswith("_proj"):
            how = {"lora_dtype": torch.float32, "lora_A_init_method": "uniform"}
            patch_linear_module(module, dim=16, alpha=32, dropout=0.0, **how)
            torch.nn.init.normal_(module.lora_b.weight, std=0.01)
    return model


def _pass(computed: PackedModel | GraphedLoss, batch: dict, way: str) -> tuple[float, list[torch.Tensor]]:
    """Return loss and gradients of one pass."""
    for weight in computed.trained:
        weight.grad = None
    loss = _backward(computed, batch, way)
    return loss.item(), [weight.grad.clone() for weight in computed.trained]


def _backward(computed: PackedModel | GraphedLoss, batch: dict, way: str) -> torch.Tensor:
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=way == "plain"):
        loss = computed.loss(batch)
    loss.backward()
    return loss


def _time(computed: PackedModel | GraphedLoss, batch: dict, way: str) -> tuple[float, int]:
    """Return the seconds of a pass and the peak of memory in MiB."""
    for _ in range(3):
        _pass(computed, batch, way)
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(PASSES):
        _backward(computed, batch, way)
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / PASSES, torch.cuda.max_memory_allocated() >> 20


if __name__ == "__main__":
    main()
