"""The part of tuning that is NeMo's: HFAutoModelForCausalLM, LoRA and finetune, on CPU or GPU."""

import argparse
import math
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import fiddle
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from nemo import lightning as nl
from nemo.collections import llm
from nemo.lightning.io.hf import HFAdapterKeyRenamer
from safetensors.torch import save
from torch.utils.data import DataLoader

from answer_tokens import IGNORED, Example, collate, real_tokens
from faults import BadInput
from hf_causal_lm import ATTENTION, HFCausalLM
from progress import Progress

VALIDATION_LOSS = "validation_loss"
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

    def adopt(self, restored: torch.nn.Module) -> None:
        """Train this model."""
        self._restored = [restored]  # in a list, so that it is not a submodule twice

    @property
    def tokenizer(self) -> None:
        """None: records arrive as tokens, and NeMo would look for the tokenizer under `model_name`."""
        return

    def _configure_model(self, attn_implementation: str) -> torch.nn.Module:
        return self._restored.pop().to(self.default_dtype)

    def on_validation_epoch_start(self) -> None:
        """Begin the sum over the validation records: NeMo's own validation step logs nothing."""
        self._sums = [0.0, 0]

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Add a micro-batch's loss, weighted by its answer tokens."""
        tokens = int((batch["labels"] != IGNORED).sum())
        loss = super().validation_step(batch, batch_idx)
        self._sums = [self._sums[0] + loss.item() * tokens, self._sums[1] + tokens]
        return loss

    def on_validation_epoch_end(self) -> None:
        """Log the mean over all answer tokens."""
        self.log(VALIDATION_LOSS, self._sums[0] / self._sums[1])


class Prompts(pl.LightningDataModule):
    """Examples in micro-batches, in the order given; within a global batch the short ones come first (less padding)."""

    def __init__(
        self, stream: Sequence[Example], validation: Sequence[Example], micro: int, whole: int, pad: int
    ) -> None:
        super().__init__()
        batches = [sorted(stream[at : at + whole], key=_length) for at in range(0, len(stream), whole)]
        self._train = [example for batch in batches for example in batch]
        self._validation = sorted(validation, key=_length)
        self.micro_batch_size, self.global_batch_size = micro, whole  # finetune checks them
        self._pad = pad

    def train_dataloader(self) -> DataLoader:
        """Return the training micro-batches."""
        return self._loader(self._train)

    def val_dataloader(self) -> DataLoader:
        """Return the validation micro-batches."""
        return self._loader(self._validation)

    def _loader(self, examples: list[Example]) -> DataLoader:
        return DataLoader(examples, batch_size=self.micro_batch_size, collate_fn=self._batch)

    def _batch(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        batch = {name: torch.tensor(rows) for name, rows in collate(examples, self._pad).items()}
        return {**batch, "tokens": torch.tensor(real_tokens(examples))}


class Recorder(pl.Callback):
    """Keep the metrics and the best weights, draw the progress, stop on a loss that is no number."""

    def __init__(self, max_steps: int) -> None:
        self.metrics: list[dict[str, Any]] = []
        self.best: tuple[float, int, bytes] | None = None
        self._max_steps = max_steps
        self._tokens = self._seen = self._done = 0
        self._seconds, self._since = 0.0, 0.0  # spent training, validation left out
        self._bar = Progress("tune", total=max_steps, unit="step")

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Start the clock, and end by SIGTERM as other scripts do: Lightning's handler leaves with exit code 0."""
        signal.signal(signal.SIGTERM, _leave)
        self._since = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Say in the log how fast it went."""
        print(
            f"{self._seen} tokens in {self._done} steps, {self._seen / self._seconds:.0f} tokens per second", flush=True
        )

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a micro-batch that ended a step: one row."""
        self._tokens += int(batch["tokens"])
        step = trainer.global_step
        if step == self._done:
            return
        loss = trainer.callback_metrics["reduced_train_loss"].item()
        if not math.isfinite(loss):
            raise BadInput(f"step {step}: the training loss is {loss}: lower adapters.<name>.learning_rate")
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"step": step, "train_loss": loss, "learning_rate": rate, "tokens": self._tokens}
        self.metrics.append(row)
        self._seen, self._done, self._tokens = self._seen + self._tokens, step, 0
        self._seconds, self._since = self._seconds + time.monotonic() - self._since, time.monotonic()
        self._bar.update(1, loss=f"{loss:.3f}", tokens_per_s=f"{self._seen / self._seconds:.0f}")
        if step == self._max_steps:
            trainer.should_stop = True  # Lightning validates before it stops, whatever the interval

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show that it goes on."""
        self._bar.update(0, validated=f"{batch_idx + 1}/{trainer.num_val_batches[0]}")

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Keep the weights if none were better."""
        loss = trainer.callback_metrics[VALIDATION_LOSS].item()
        if not math.isfinite(loss):
            raise BadInput(f"step {self._done}: the validation loss is {loss}: lower adapters.<name>.learning_rate")
        self.metrics.append({"step": self._done, VALIDATION_LOSS: loss})
        print(f"step {self._done}: {VALIDATION_LOSS} {loss:.4f}", flush=True)
        if self.best is None or loss < self.best[0]:
            self.best = (loss, self._done, adapter_weights(module))
        self._since = time.monotonic()


def adapter_weights(module: torch.nn.Module) -> bytes:
    """Return the trained weights as a safetensors file, in float32 and by PEFT's names."""
    return save(
        {
            HFAdapterKeyRenamer.nemo_to_hf(name): weight.detach().float().cpu().contiguous()
            for name, weight in sorted(module.named_parameters())
            if weight.requires_grad
        }
    )


def restore(path: Path, threads: int, seed: int) -> HFCausalLM:
    """Make PyTorch repeatable and return the base of a .nemo file."""
    warnings.filterwarnings("ignore", message=".*(num_workers|LightningDataModule|pynvml).*")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products on a GPU need
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    pl.seed_everything(seed, workers=True)
    return HFCausalLM.restore(path)


def tune(
    base: HFCausalLM, stream: Sequence[Example], validation: Sequence[Example], options: argparse.Namespace
) -> Tuned:
    """Train on the stream, one pass, and return the weights of the best validation. `options` are tune_adapter's."""
    gpu = torch.cuda.is_available()
    model = HFAutoModelFromNemo(
        model_name="restored",
        default_dtype=torch.bfloat16 if gpu else torch.float32,
        attn_implementation=ATTENTION,
        use_linear_ce_loss=False,
    )
    accumulate = options.global_batch_size // options.micro_batch_size
    tokenizer = base.tokenizer
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    recorder = Recorder(options.max_steps)
    callbacks: list[pl.Callback] = [recorder]
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
        model.adopt(base.model)
        llm.api.finetune(
            model=model,
            data=Prompts(
                stream,
                validation,
                options.micro_batch_size,
                options.global_batch_size,
                pad,
            ),
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


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # an exception, so that scratch is removed


def _length(example: Example) -> int:
    return len(example.tokens)
