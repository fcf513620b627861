"""The part of tuning that is NeMo's: HFAutoModelForCausalLM, LoRA and finetune, on CPU or GPU."""

import argparse
import os
import tempfile
import time
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

from answer_tokens import IGNORED, Example
from graphed_loss import GraphedLoss
from hf_causal_lm import ATTENTION, HFCausalLM
from packed_attention import NAME as PACKED
from packed_loss import PackedModel
from peers import AverageGradients, Peers
from prompt_batches import Packs, Prompts
from tuning_recorder import VALIDATION_LOSS, Recorder

CLIP = 1.0  # greatest norm of the gradient: the tutorial's gradient_clip_val


@dataclass(frozen=True)
class Tuned:
    """The adapter's safetensors file (PEFT's names), the step and loss they are of, and the rows of metrics.jsonl."""

    weights: bytes
    step: int
    validation_loss: float
    metrics: list[dict[str, Any]]


class HFAutoModelFromNemo(llm.HFAutoModelForCausalLM):
    """NeMo's model for Hugging Face weights, with those of a restored .nemo file (its name must hold `HFAutoModel`).

    Its constructor is NeMo's: NeMo copies the arguments, so the weights come by `adopt`.
    """

    def adopt(self, restored: torch.nn.Module, peers: Peers, options: argparse.Namespace) -> None:
        """Train this model, together with the peers, in the way that the options ask for."""
        self._restored = [restored]  # in a list, so that it is not a submodule twice
        self._peers, self._options = peers, options

    @property
    def tokenizer(self) -> None:
        """None: records arrive as tokens, and NeMo would look for the tokenizer under `model_name`."""
        return

    def _configure_model(self, attn_implementation: str) -> torch.nn.Module:
        return self._restored.pop().to(self.default_dtype)

    def on_fit_start(self) -> None:
        """Lay out the model for packs, once LoRA is in it and it is where it is computed."""
        if self._options.pack_length:
            self.model.config._attn_implementation = PACKED
            self._packed = PackedModel(
                self.model,
                fused=self._options.kernels != "plain",
                recompute=self._options.activations == "recompute",
                fp8=self._options.products == "fp8",
            )
        if self._options.kernels == "graphed":
            trained = [weight for weight in self.model.parameters() if weight.requires_grad]
            self._graphed = GraphedLoss(self._packed, trained, self.trainer.datamodule.sizes)

    def training_step(self, batch: dict[str, Any], batch_idx: int | None = None) -> torch.Tensor:
        """Return a micro-batch's or a pack's loss; a pack's without waiting for the GPU, as NeMo's own step does."""
        if not self._options.pack_length:
            return super().training_step(batch, batch_idx)
        loss = (self._graphed if self._options.kernels == "graphed" else self._packed).loss(batch)
        self.timestamp = self.timestamp or time.perf_counter()
        self.loss_buffer.append(loss.detach())
        self.n_tok += len(batch["tokens"])
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin the sum over the validation records: NeMo's own validation step logs nothing."""
        self._sums = [0.0, 0]

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Add a micro-batch's loss, weighted by its answer tokens, or a pack's, which is their sum."""
        tokens = int((batch["labels"] != IGNORED).sum())
        if self._options.pack_length:
            loss = self._packed.loss(batch) / tokens
        else:
            loss = super().validation_step(batch, batch_idx)
        self._sums = [self._sums[0] + loss.item() * tokens, self._sums[1] + tokens]
        return loss

    def on_validation_epoch_end(self) -> None:
        """Log the mean over all answer tokens."""
        loss, tokens = map(self._peers.total, self._sums)
        self.log(VALIDATION_LOSS, loss / tokens)


def restore(path: Path, threads: int, seed: int) -> HFCausalLM:
    """Make PyTorch repeatable and return the base of a .nemo file."""
    warnings.filterwarnings("ignore", message=".*(num_workers|LightningDataModule|pynvml).*")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products on a GPU need
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it did not write
    pl.seed_everything(seed, workers=True)
    return HFCausalLM.restore(path)


def tune(
    base: HFCausalLM,
    stream: Sequence[Example],
    validation: Sequence[Example],
    options: argparse.Namespace,
    peers: Peers,
) -> Tuned:
    """Train on the stream, one pass, and return the weights of the best validation. `options` are tune_adapter's."""
    gpu = torch.cuda.is_available()
    model = HFAutoModelFromNemo(
        model_name="restored",
        default_dtype=torch.bfloat16 if gpu else torch.float32,
        attn_implementation=ATTENTION,
        use_linear_ce_loss=False,
    )
    tokenizer = base.tokenizer
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    whole, place = options.global_batch_size, (peers.rank, peers.count)
    if options.pack_length:
        data = Packs(stream, validation, options.pack_length, whole, *place)
        accumulate = data.count // peers.count
        print(f"{data.count} packs for each step, of {options.pack_length} tokens at the most")
    else:
        data = Prompts(stream, validation, options.micro_batch_size, whole, pad, *place)
        accumulate = whole // options.micro_batch_size // peers.count
    recorder = Recorder(options.max_steps, peers)
    callbacks: list[pl.Callback] = [recorder]
    if peers.count > 1:
        callbacks.append(AverageGradients(peers))
    if options.patience:
        callbacks.append(EarlyStopping(VALIDATION_LOSS, patience=options.patience, mode="min", min_delta=0.0))
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
        model.adopt(base.model, peers, options)
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
    loss, step, weights = recorder.best
    return Tuned(weights, step, loss, recorder.metrics)
