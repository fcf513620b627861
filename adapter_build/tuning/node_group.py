"""A group of nodes that tune one adapter together: each has its share of every global batch; gradients are averaged.

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
class NodeGroup:
    """This node's rank in the group, from 0, and how many nodes (`count`) the group has."""

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


def join(count: int) -> NodeGroup:
    """Return this node's group of `count` nodes that Slurm's srun started, once all have joined.

    One node needs no Slurm. Raises `KeyError` where srun did not start this process.
    """
    if count == 1:
        return NodeGroup()
    rank = int(os.environ["SLURM_PROCID"])
    if rank:  # one progress bar for all nodes
        os.environ.pop("STEP_PROGRESS", None)
    # Lightning and NeMo would find the job and start what they know of it.
    for name in [name for name in os.environ if name.startswith(SLURM)]:
        del os.environ[name]
    meeting = Path(os.environ["TMPDIR"]) / "peers"  # in the attempt's folder, which all nodes share
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, init_method=meeting.as_uri(), rank=rank, world_size=count)
    return NodeGroup(rank, count)


class AverageGradients(pl.Callback):
    """Callback that gives every node the mean of all nodes' gradients, before they are clipped and applied."""

    def __init__(self, group: NodeGroup) -> None:
        self._group = group

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Exchange the gradients as one vector, in the order of the parameters."""
        gradients = [weight.grad for parameters in optimizer.param_groups for weight in parameters["params"]]
        whole = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(whole)
        whole /= self._group.count
        for gradient, part in zip(gradients, whole.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
