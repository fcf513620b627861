"""Resuming of a killed tuning run from its last saved step, to the bytes of an undisturbed run.

Lightning resumes at whole epochs only: it restores neither the position in a stream nor the state of dropout.
"""

import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping

from adapter_build.tuning.node_group import NodeGroup
from adapter_build.tuning.recorder import Recorder
from adapter_build.tuning.resume_file import read_state, write_state


class Resume(pl.Callback):
    """Callback that saves the state in `folder` (None: nowhere) every `interval` steps (0: never), and restores it.

    `step` is the last step of the restored state, 0 where there is none. The first node reads and writes for all.
    """

    def __init__(
        self, folder: Path | None, interval: int, group: NodeGroup, recorder: Recorder, stopping: EarlyStopping | None
    ) -> None:
        self._folder, self._interval, self._group = folder, interval, group
        self._recorder, self._stopping = recorder, stopping
        content = group.first(read_state(folder) if folder and not group.rank else None)
        self._state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True) if content else None
        self.step = self._saved = self._state["step"] if self._state else 0
        self._failed = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Restore the loop's counts, the metrics and the best weights."""
        if not self._state:
            return
        self._recorder.resume(self.step, self._state["recorder"])
        if self._stopping:
            self._stopping.load_state_dict(self._state["stopping"])
        loop = trainer.fit_loop.epoch_loop  # its totals decide when to validate and when to end
        batches = loop.batch_progress.total
        batches.ready = batches.started = batches.processed = batches.completed = (
            self.step * trainer.accumulate_grad_batches
        )
        steps = loop.automatic_optimization.optim_progress.optimizer.step.total
        steps.ready = steps.completed = self.step
        print(f"resumed at step {self.step}", flush=True)

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Save between two steps, after the first one's validation; at the first batch restore weights and states.

        Restoring cannot come earlier: NeMo makes the optimizer late, and a new iterator over records draws a number.
        """
        step = trainer.global_step
        if self._state:
            with torch.no_grad():
                for name, weight in _trained(module).items():
                    weight.copy_(self._state["weights"][name])  # in place: packs see that it changed
            trainer.optimizers[0].load_state_dict(self._state["optimizer"])
            random = self._state["random"][self._group.rank]
            torch.set_rng_state(random["cpu"])
            if torch.cuda.is_available():
                torch.cuda.set_rng_state(random["gpu"])
            self._state = None
        elif self._folder and self._interval and step > self._saved and not step % self._interval:
            self._save(self._folder, step, trainer, module)
            self._saved = step

    def _save(self, folder: Path, step: int, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["gpu"] = torch.cuda.get_rng_state()
        every, recorder = self._group.gather(random), self._recorder.state()
        if self._group.rank:
            return
        state = {
            "step": step,
            "weights": _trained(module),
            "optimizer": trainer.optimizers[0].state_dict(),
            "random": every,
            "recorder": recorder,
            "stopping": self._stopping.state_dict() if self._stopping else None,
        }
        content = io.BytesIO()
        torch.save(state, content)
        try:
            write_state(folder, content.getbuffer())
        except OSError as error:  # a saved state only saves time: the run goes on
            if not self._failed:
                kept = "what was saved before stays, and tuning goes on"
                print(f"step {step}: not saved for resuming: {error.strerror}: free some space; {kept}", flush=True)
            self._failed = True
        else:
            self._failed = False


def _trained(module: pl.LightningModule) -> dict[str, torch.Tensor]:
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad}
