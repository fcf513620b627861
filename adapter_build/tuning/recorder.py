"""Recorder of a training run: its metrics, its best weights, its progress."""

import math
import signal
import time
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from nemo.lightning.io.hf import HFAdapterKeyRenamer
from safetensors.torch import save

from adapter_build.core.faults import BadInput
from adapter_build.core.progress import Progress
from adapter_build.tuning.node_group import NodeGroup

VALIDATION_LOSS = "validation_loss"


class Recorder(pl.Callback):
    """Callback that keeps metrics and best weights, draws the progress, and stops on a loss that is not finite."""

    def __init__(self, max_steps: int, group: NodeGroup) -> None:
        self.metrics: list[dict[str, Any]] = []
        self.best: tuple[float, int, bytes] | None = None
        self._max_steps, self._group = max_steps, group
        self._tokens = self._trained_tokens = self._done = self._resumed = 0
        self._seconds, self._since = 0.0, 0.0  # spent training, validation left out
        self._first = (0, 0.0)  # tokens and seconds of the first step
        self._open: list[tuple[dict[str, Any], _PendingScalar]] = []  # rows whose loss the GPU may still be computing
        self._bar = Progress("tune", total=max_steps, unit="step")

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Start the clock, and end by SIGTERM with 143: Lightning's handler would leave with exit code 0."""
        signal.signal(signal.SIGTERM, _leave)
        self._since = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Log tokens per second; the first step, which loads kernels, counts only if there is no other."""
        self._close(0)
        steps = self._done - self._resumed
        first = self._first if steps > 1 else (0, 0.0)
        rate = (self._trained_tokens - first[0]) / (self._seconds - first[1])
        print(f"{self._trained_tokens} tokens in {steps} steps, {rate:.0f} tokens per second", flush=True)
        if torch.cuda.is_available():
            print(f"{torch.cuda.max_memory_allocated() / 2**20:.0f} MiB of the GPU's memory at the most", flush=True)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Append a row when a step completes."""
        self._tokens += int(batch["tokens"])
        step = trainer.global_step
        if step == self._done:
            return
        tokens = int(self._group.total(self._tokens))
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"step": step, "train_loss": 0.0, "learning_rate": rate, "tokens": tokens}
        self.metrics.append(row)
        self._done, self._tokens = step, 0
        self._open.append((row, _PendingScalar(module.step_loss)))
        self._close(1)  # the GPU computes the next step while the last one's loss is read
        if step == self._max_steps:
            trainer.should_stop = True  # Lightning validates before it stops, whatever the interval

    def _close(self, left: int) -> None:
        """Complete the rows of all steps but the last `left`."""
        while len(self._open) > left:
            row, pending = self._open.pop(0)
            loss = row["train_loss"] = self._group.mean(pending.value())
            if not math.isfinite(loss):
                raise BadInput(f"step {row['step']}: the training loss is {loss}: lower adapters.<name>.learning_rate")
            self._trained_tokens += row["tokens"]
            self._seconds, self._since = self._seconds + time.monotonic() - self._since, time.monotonic()
            if row["step"] == self._resumed + 1:
                self._first = (self._trained_tokens, self._seconds)
            self._bar.update(1, loss=f"{loss:.3f}", tokens_per_s=f"{self._trained_tokens / self._seconds:.0f}")

    def on_validation_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Complete the rows of all steps: validation is not counted in their time."""
        self._close(0)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the validation's progress."""
        self._bar.update(0, validated=f"{batch_idx + 1}/{trainer.num_val_batches[0]}")

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Keep the weights if their validation loss is the lowest so far."""
        loss = trainer.callback_metrics[VALIDATION_LOSS].item()
        if not math.isfinite(loss):
            raise BadInput(f"step {self._done}: the validation loss is {loss}: lower adapters.<name>.learning_rate")
        self.metrics.append({"step": self._done, VALIDATION_LOSS: loss})
        print(f"step {self._done}: {VALIDATION_LOSS} {loss:.4f}", flush=True)
        if self.best is None or loss < self.best[0]:
            self.best = (loss, self._done, adapter_weights(module))
        self._since = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Return the state that `resume` takes; every node must call it."""
        self._close(0)
        return {"metrics": self.metrics, "best": self.best}

    def resume(self, step: int, state: dict[str, Any]) -> None:
        """Go on after a step, with an earlier run's state up to it, whose time is not counted."""
        self.metrics, self.best = state["metrics"], state["best"]
        self._done = self._resumed = step
        self._bar.update(step)


class _PendingScalar:
    """A scalar that the GPU may still be computing, read without waiting for work that was queued after it."""

    def __init__(self, tensor: torch.Tensor) -> None:
        tensor = tensor.detach()
        self._value = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
        self._value.copy_(tensor, non_blocking=True)
        self._ready = torch.cuda.current_stream().record_event() if tensor.is_cuda else None

    def value(self) -> float:
        if self._ready:
            self._ready.synchronize()
        return self._value.item()


def adapter_weights(module: torch.nn.Module) -> bytes:
    """Return the trained weights as a safetensors file, in float32 and by PEFT's names."""
    return save(
        {
            HFAdapterKeyRenamer.nemo_to_hf(name): weight.detach().float().cpu().contiguous()
            for name, weight in sorted(module.named_parameters())
            if weight.requires_grad
        }
    )


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # an exception, so that scratch is removed
