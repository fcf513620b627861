"""The nodes that tune one adapter together: each has its share of every global batch, and their gradients are averaged.

Only the adapter's gradients are exchanged, a few MB for each step; the frozen base is the same on all.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import distributed

SLURM = "SLURM_"


@dataclass(frozen=True)
class Peers:
    """This node's place among them: `rank` from 0, of `count`."""

    rank: int = 0
    count: int = 1

    def mean(self, value: float) -> float:
        """Return the mean of every node's value."""
        return self.total(value) / self.count

    def total(self, value: float) -> float:
        """Return the sum of every node's value."""
        if self.count == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device="cuda" if torch.cuda.is_available() else "cpu")
        distributed.all_reduce(tensor)
        return tensor.item()

    def gather(self, value: Any) -> list[Any]:
        """Return every node's value, by rank."""
        found = [value] * self.count
        if self.count > 1:
            distributed.all_gather_object(found, value)
        return found

    def first(self, value: Any) -> Any:
        """Return the first node's value."""
        found = [value]
        if self.count > 1:
            distributed.broadcast_object_list(found, src=0)
        return found[0]


def join(count: int) -> Peers:
    """Return this node's place among `count` that Slurm's srun started, once all are there. One needs no Slurm."""
    if count == 1:
        return Peers()
    rank = int(os.environ["SLURM_PROCID"])
    if rank:  # one bar for all
        os.environ.pop("STEP_PROGRESS", None)
    # Lightning and NeMo would find the job and start what they know of it.
    for name in [name for name in os.environ if name.startswith(SLURM)]:
        del os.environ[name]
    meeting = Path(os.environ["TMPDIR"]) / "peers"  # in the attempt's folder, which all nodes see
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, init_method=meeting.as_uri(), rank=rank, world_size=count)
    return Peers(rank, count)


class AverageGradients(pl.Callback):
    """Give every node the mean of all nodes' gradients before an optimizer's step, and before they are clipped."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Exchange them as one vector, in the order of the parameters."""
        gradients = [weight.grad for group in optimizer.param_groups for weight in group["params"]]
        whole = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(whole)
        whole /= self._peers.count
        for gradient, part in zip(gradients, whole.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
