"""NeMo's model for Hugging Face weights, as this project trains it: restored from a .nemo file, by records or packs."""

import argparse
from typing import Any

import torch
from nemo.collections import llm

from adapter_build.kernels.packed_attention import NAME as PACKED
from adapter_build.kernels.packed_loss import PackedModel
from adapter_build.models.answer_tokens import IGNORED
from adapter_build.tuning.graphed_loss import GraphedLoss
from adapter_build.tuning.node_group import NodeGroup
from adapter_build.tuning.recorder import VALIDATION_LOSS


class HFAutoModelFromNemo(llm.HFAutoModelForCausalLM):
    """NeMo's model for Hugging Face weights, with those of a restored .nemo file (its name must hold `HFAutoModel`).

    Its constructor is NeMo's: NeMo copies the arguments, so the weights come by `adopt`.
    """

    def adopt(self, restored: torch.nn.Module, group: NodeGroup, options: argparse.Namespace) -> None:
        """Take the restored weights, and tune_adapter's options for training them on this node of the group."""
        self._restored = [restored]  # in a list, so that it is not a submodule twice
        self._group, self._options = group, options

    @property
    def tokenizer(self) -> None:
        """Give NeMo no tokenizer: records arrive as tokens, and NeMo would look for one under `model_name`."""
        return

    def _configure_model(self, attn_implementation: str) -> torch.nn.Module:
        return self._restored.pop().to(self.default_dtype)

    def on_fit_start(self) -> None:
        """Lay out the model for packs, once LoRA is in it and the weights are on their device."""
        if self._options.pack_length:
            self.model.config._attn_implementation = PACKED
            self._packed = PackedModel(
                self.model,
                fused=self._options.kernels != "plain",
                recompute=self._options.activations == "recompute",
                products=self._options.products,
                weights=self._options.weights,
                fast=self._options.attention == "fastest",
            )
        if self._options.kernels == "graphed":
            self._graphed = GraphedLoss(self._packed, self.trainer.datamodule.sizes)

    def training_step(self, batch: dict[str, Any], batch_idx: int | None = None) -> torch.Tensor:
        """Return a micro-batch's or a pack's loss, a scalar; a pack's without NeMo's wait for the GPU."""
        if not self._options.pack_length:
            return super().training_step(batch, batch_idx)
        loss = (self._graphed if self._options.kernels == "graphed" else self._packed).loss(batch)
        self.loss_buffer.append(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the mean of a step's losses; of packs without NeMo's three waits for the GPU."""
        if not self._options.pack_length:
            super().on_before_optimizer_step(optimizer)
            self.step_loss = self.trainer.callback_metrics["reduced_train_loss"]
            return
        self.step_loss = torch.stack(self.loss_buffer).mean()
        self.loss_buffer = []

    def on_validation_epoch_start(self) -> None:
        """Begin the sum over the validation records, since NeMo's own validation step logs nothing."""
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
        loss, tokens = map(self._group.total, self._sums)
        self.log(VALIDATION_LOSS, loss / tokens)
