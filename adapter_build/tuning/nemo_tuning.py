"""Tuning by NeMo: HFAutoModelForCausalLM, LoRA and finetune, on CPU or GPU."""

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiddle
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from nemo import lightning as nl
from nemo.collections import llm

from adapter_build.kernels.determinism import make_repeatable
from adapter_build.models.answer_tokens import Example
from adapter_build.models.hf_causal_lm import ATTENTION, HFCausalLM
from adapter_build.tuning.nemo_model import HFAutoModelFromNemo
from adapter_build.tuning.node_group import AverageGradients, NodeGroup
from adapter_build.tuning.prompt_batches import Packs, Prompts
from adapter_build.tuning.recorder import VALIDATION_LOSS, Recorder
from adapter_build.tuning.resume import Resume

CLIP = 1.0  # largest norm of the gradient: gradient_clip_val of megatron_gpt_finetuning_config.yaml in NeMo 24.07


@dataclass(frozen=True)
class Tuned:
    """A tuned adapter: its safetensors file (PEFT's names), its step and validation loss, and the rows of metrics."""

    weights: bytes
    step: int
    validation_loss: float
    metrics: list[dict[str, Any]]


def restore(path: Path, threads: int, seed: int) -> HFCausalLM:
    """Make PyTorch repeatable, seed it, and return the base of a .nemo file."""
    warnings.filterwarnings("ignore", message=".*(num_workers|LightningDataModule|pynvml).*")
    make_repeatable(threads)
    pl.seed_everything(seed, workers=True)
    return HFCausalLM.restore(path)


def tune(
    base: HFCausalLM,
    stream: Sequence[Example],
    validation: Sequence[Example],
    options: argparse.Namespace,
    group: NodeGroup,
) -> Tuned:
    """Train on the stream once, and return the weights of the lowest validation loss, the earliest on ties.

    `options` are tune_adapter's. Raises `BadInput` for a loss that is not finite.
    """
    gpu = torch.cuda.is_available()
    model = HFAutoModelFromNemo(
        model_name="restored",
        default_dtype=torch.bfloat16 if gpu else torch.float32,
        attn_implementation=ATTENTION,
        use_linear_ce_loss=False,
    )
    tokenizer = base.tokenizer
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    whole, share = options.global_batch_size, (group.rank, group.count)
    if options.pack_length:
        data = Packs(stream, validation, options.pack_length, whole, *share)
        accumulate = data.count // group.count
        print(f"{data.count} packs for each step, of {options.pack_length} tokens at the most")
    else:
        data = Prompts(stream, validation, options.micro_batch_size, whole, pad, *share)
        accumulate = whole // options.micro_batch_size // group.count
    recorder = Recorder(options.max_steps, group)
    stopping = None
    if options.patience:
        stopping = EarlyStopping(VALIDATION_LOSS, patience=options.patience, mode="min", min_delta=0.0)
    resume = Resume(options.resume, options.checkpoint_interval, group, recorder, stopping)
    data.begin_after(resume.step)
    callbacks = [recorder, resume, *([AverageGradients(group)] if group.count > 1 else [])]
    callbacks += [stopping] if stopping else []
    with tempfile.TemporaryDirectory() as scratch:
        trainer = nl.Trainer(
            accelerator="gpu" if gpu else "cpu",
            devices=1,
            strategy=pl.strategies.SingleDeviceStrategy(device="cuda:0" if gpu else "cpu"),
            precision="bf16-mixed" if gpu else "32-true",
            max_steps=options.max_steps,
            accumulate_grad_batches=accumulate,
            gradient_clip_val=CLIP,
            val_check_interval=(options.validation_interval or options.max_steps) * accumulate,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=scratch,
            logger=False,
        )
        trainer.callbacks += callbacks
        model.adopt(base.model, group, options)
        llm.api.finetune(
            model=model,
            data=data,
            trainer=trainer,
            optim=fiddle.build(llm.adam.pytorch_adam_with_flat_lr(lr=options.learning_rate)),
            log=nl.NeMoLogger(name="tune", log_dir=scratch, use_datetime_version=False, ckpt=None),
            peft=llm.peft.LoRA(
                target_modules=sorted(options.target_modules),
                dim=options.rank,
                alpha=options.alpha,
                dropout=options.dropout,
                # NeMo's default, "xavier", draws A from [0, 1), all positive. "uniform" is how PEFT starts.
                lora_A_init_method="uniform",
                lora_dtype=torch.float32,
            ),
            resume=None,
        )
    assert recorder.best  # the last step is validated
    loss, step, weights = recorder.best
    return Tuned(weights, step, loss, recorder.metrics)
