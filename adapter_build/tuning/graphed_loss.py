"""A packed model's loss and gradients as CUDA graphs: the GPU never waits for Python to start its next kernel.

A graph has one size: packs are filled up to the next one with documents that nothing is asked of. The sizes are chosen
for all packs of a run, and their graphs recorded at its start.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import torch

from adapter_build.kernels.packed_attention import Documents
from adapter_build.kernels.packed_loss import PackedModel
from adapter_build.kernels.packing import graph_sizes
from adapter_build.tuning.prompt_batches import PackSizes

STEP = 128  # tokens: the rows of a tile of a matrix product
GRAPHS = 12  # at the most: each is a second of the start, and some MiB
WARM = 2  # passes before the first recording: libraries choose their kernels and take their memory


class GraphedLoss:
    """Losses of packs of `sizes`."""

    def __init__(self, packed: PackedModel, sizes: PackSizes) -> None:
        self.trained = packed.trained
        self._packed, self._longest = packed, sizes.longest
        # Makes autograd run the backward. A trained weight would too, but bind itself to a stream no graph may use.
        self._asks = torch.zeros((), requires_grad=True)
        packed.refresh()
        self._refresh = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._refresh):
            packed.refresh()
        pool = torch.cuda.graph_pool_handle()  # of all: one runs at a time, and its results are taken at once
        self._graphs: dict[int, _Graph] = {}
        self._sizes = graph_sizes(sizes.tokens, STEP, GRAPHS)
        for size in reversed(self._sizes):
            # One record alone is of no variable length: a faster kernel attends to it.
            documents = 1 if sizes.records == 1 else sizes.records + -(-size // sizes.longest)
            lengths = {"input_ids": size, "places": size, "starts": documents + 1}
            lengths |= dict.fromkeys(("keep", "labels", "weights"), sizes.answers)
            batch = {name: torch.zeros(length, dtype=KINDS[name], device="cuda") for name, length in lengths.items()}
            self._starts(batch, [0])
            warm = 0 if self._graphs else WARM
            self._graphs[size] = _Graph(packed, batch, sizes.longest, pool, warm)

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the loss of a pack; its backward adds the gradients, which are known already, to `trained`."""
        return _Replay.apply(self, batch, self._asks)

    def replay(self, batch: dict[str, Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return a pack's loss and gradients; they hold until the next pack's."""
        if self._packed.changed():
            self._refresh.replay()
        graph = self._graphs[self._sizes[bisect_left(self._sizes, batch["tokens"])]]
        graph.batch["weights"].zero_()
        for name in ("input_ids", "places", "keep", "labels", "weights"):
            graph.batch[name][: len(batch[name])].copy_(batch[name], non_blocking=True)
        self._starts(graph.batch, batch["bounds"])
        graph.graph.replay()
        return graph.loss, graph.gradients

    def _starts(self, batch: dict[str, torch.Tensor], bounds: Sequence[int]) -> None:
        """Set where documents begin; what is left of the pack becomes documents that are not too long either."""
        size, count = len(batch["input_ids"]), len(batch["starts"])
        whole = [0, size] if count == 2 else list(bounds)
        while whole[-1] < size:
            whole.append(min(whole[-1] + self._longest, size))
        whole += [size] * (count - len(whole))
        batch["starts"].copy_(torch.tensor(whole, dtype=torch.int32), non_blocking=True)


KINDS = dict.fromkeys(("input_ids", "places", "keep", "labels"), torch.int64) | {
    "starts": torch.int32,
    "weights": torch.float32,
}


class _Graph:
    def __init__(
        self,
        packed: PackedModel,
        batch: dict[str, torch.Tensor],
        longest: int,
        pool: tuple[int, int],
        warm: int,
    ) -> None:
        self.batch = batch
        documents = Documents(batch["starts"], [0, len(batch["input_ids"])], longest)

        def both() -> tuple[torch.Tensor, list[torch.Tensor]]:
            loss = packed.loss_of(batch, documents)
            return loss.detach(), list(torch.autograd.grad(loss, packed.trained))

        with torch.enable_grad(), torch.autocast("cuda", enabled=False):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(warm):
                    both()
            torch.cuda.current_stream().wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, pool=pool):
                self.loss, self.gradients = both()


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graphed: GraphedLoss, batch: dict[str, Any], _: torch.Tensor) -> torch.Tensor:
        loss, ctx.gradients = graphed.replay(batch)
        ctx.trained = graphed.trained
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, dloss: torch.Tensor) -> tuple[None, ...]:
        gradients = torch._foreach_mul(ctx.gradients, dloss)
        for weight in ctx.trained:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        torch._foreach_add_([weight.grad for weight in ctx.trained], gradients)
        return None, None, None
