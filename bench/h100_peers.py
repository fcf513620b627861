"""Speed of peers on the same card: the shape of Llama-3.1-8B, random weights, LoRA of rank 16 on every linear layer.

    python bench/h100_peers.py PROMPTS TOKENIZER [PEER …]

A peer is a name of PEERS. Those of PEFT have its adapter in bfloat16, PyTorch's fused AdamW and four micro-batches a
step: the tutorial's recipe takes real records one by one, the packed ones rows of 4,096 tokens without regard to
where a record ends. Those of nemo_toolkit are as it comes, on its own mock data. The first two steps are left out.
"""

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from h100_base import SHAPE, random_model
from h100_tune import MODULES

from adapter_build.models.answer_tokens import encode
from adapter_build.records.prompts import read_prompts

LENGTH = 4096
MICRO_BATCHES = 4
STEPS = 7


def main() -> None:
    """Print a row for each peer."""
    prompts, tokenizer, *peers = sys.argv[1:]
    for peer in peers or PEERS:
        torch.cuda.reset_peak_memory_stats()
        try:
            found = f"{PEERS[peer](Path(prompts), tokenizer):.0f}"
        except Exception as fault:  # one peer of many: the others are still worth having
            found = f"failed: {fault}"
        print(f"| {peer} | {found} | {torch.cuda.max_memory_allocated() >> 20} | | |", flush=True)
        gc.collect()
        torch.cuda.empty_cache()


def _peft(rows: Callable[[Path, str], list[list[int]]], liger: bool) -> Callable[[Path, str], float]:
    def measure(prompts: Path, tokenizer: str) -> float:
        from peft import LoraConfig, get_peft_model

        if liger:
            from liger_kernel.transformers import apply_liger_kernel_to_llama

            apply_liger_kernel_to_llama()
        model = random_model()
        lora = LoraConfig(r=16, lora_alpha=32, target_modules=MODULES)
        model = get_peft_model(model, lora, autocast_adapter_dtype=False).train()
        optimizer = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], 1e-4, fused=True)
        batches = [torch.tensor([row], device="cuda") for row in rows(prompts, tokenizer)[: STEPS * MICRO_BATCHES]]
        rates = []
        for at in range(0, len(batches), MICRO_BATCHES):
            began = time.perf_counter()
            for tokens in batches[at : at + MICRO_BATCHES]:
                (model(input_ids=tokens, labels=tokens, use_cache=False).loss / MICRO_BATCHES).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            torch.cuda.synchronize()
            seconds = time.perf_counter() - began
            rates.append(sum(map(torch.numel, batches[at : at + MICRO_BATCHES])) / seconds)
        return statistics.median(rates[2:])

    return measure


def _records(prompts: Path, tokenizer: str) -> list[list[int]]:
    from transformers import AutoTokenizer

    cut = AutoTokenizer.from_pretrained(tokenizer)
    return [encode(cut, row, 1024, prompts).tokens for row in read_prompts(prompts)]


def _packed(prompts: Path, tokenizer: str) -> list[list[int]]:
    whole = [token for row in _records(prompts, tokenizer) for token in row]
    rows = [whole[at : at + LENGTH] for at in range(0, len(whole) - LENGTH, LENGTH)]
    return (rows * STEPS)[: STEPS * MICRO_BATCHES]


def _nemo(liger: bool) -> Callable[[Path, str], float]:
    def measure(_: Path, tokenizer: str) -> float:
        import fiddle
        import lightning.pytorch as pl
        from nemo import lightning as nl
        from nemo.collections import llm
        from nemo.collections.llm.gpt.data.hf_dataset import HFMockDataModule

        class HFAutoModelOnGPU(llm.HFAutoModelForCausalLM):
            def _configure_model(self, attn_implementation: str) -> torch.nn.Module:
                with torch.device("cuda"):  # drawing eight billion weights on a CPU takes minutes
                    return super()._configure_model(attn_implementation)

        class Clock(pl.Callback):
            def __init__(self) -> None:
                self.rates: list[float] = []
                self.began = 0.0

            def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, number: int) -> None:
                if number % MICRO_BATCHES == 0:
                    torch.cuda.synchronize()
                    self.began = time.perf_counter()

            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:
                if number % MICRO_BATCHES == MICRO_BATCHES - 1:
                    torch.cuda.synchronize()
                    self.rates.append(LENGTH * MICRO_BATCHES / (time.perf_counter() - self.began))

        with tempfile.TemporaryDirectory() as folder:
            for path in Path(tokenizer).iterdir():
                (Path(folder) / path.name).write_bytes(path.read_bytes())
            (Path(folder) / "config.json").write_text(json.dumps(SHAPE))
            clock = Clock()
            model = HFAutoModelOnGPU(
                model_name=folder, load_pretrained_weights=False, default_dtype=torch.bfloat16,
                attn_implementation="sdpa", use_liger_kernel=liger, use_linear_ce_loss=False,
            )  # fmt: skip
            trainer = nl.Trainer(
                accelerator="gpu", devices=1, max_steps=STEPS, limit_val_batches=0, num_sanity_val_steps=0,
                strategy=pl.strategies.SingleDeviceStrategy(device="cuda:0"), enable_checkpointing=False,
                val_check_interval=1000, log_every_n_steps=1, use_distributed_sampler=False, precision="bf16-mixed",
                accumulate_grad_batches=MICRO_BATCHES, callbacks=[clock], logger=False, enable_progress_bar=False,
            )  # fmt: skip
            llm.api.finetune(
                model=model,
                data=HFMockDataModule(
                    vocab_size=128000, seq_length=LENGTH, micro_batch_size=1, num_workers=0, persistent_workers=False
                ),
                trainer=trainer,
                log=nl.NeMoLogger(name="peer", log_dir=folder, use_datetime_version=False, ckpt=None),
                resume=None,
                optim=fiddle.build(llm.adam.pytorch_adam_with_flat_lr(lr=1e-4)),
                peft=llm.peft.LoRA(target_modules=["*_proj"], dim=16, alpha=32, dropout=0.0),
            )
            return statistics.median(clock.rates[2:])

    return measure


PEERS = {
    "the tutorial's recipe: PEFT, real questions one by one": _peft(_records, liger=False),
    "PEFT, packed to 4,096": _peft(_packed, liger=False),
    "nemo_toolkit as it comes, 4,096": _nemo(liger=False),
    "nemo_toolkit with Liger, 4,096": _nemo(liger=True),
    "PEFT and Liger, packed to 4,096": _peft(_packed, liger=True),  # last: it changes transformers for good
}

if __name__ == "__main__":
    main()
