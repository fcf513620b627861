"""A packed model's loss and gradients as CUDA graphs: the GPU never waits for Python to start its next kernel.

A graph has one size: packs are filled up to the next size with documents that have no answer. The sizes are chosen for
all packs of a run (packing.graph_sizes), and their graphs recorded at its start.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import torch

from adapter_build.kernels.packed_attention import Documents
from adapter_build.kernels.packed_loss import PackedModel
from adapter_build.kernels.packing import GRAPH_STEP, GRAPHS, graph_sizes
from adapter_build.tuning.prompt_batches import PackSizes

WARM = 2  # passes before the first recording: libraries choose their kernels and take their memory


class GraphedLoss:
    """Losses of packs, replayed from one graph for each of a few sizes; `sizes` are those of all packs of the run."""

    def __init__(self, packed: PackedModel, sizes: PackSizes) -> None:
        self.trained = packed.trained
        self._packed, self._longest = packed, sizes.longest
        # Makes autograd run the backward. A trained weight would tie it to a stream that graphs cannot capture.
        self._trigger = torch.zeros((), requires_grad=True)
        packed.refresh()
        self._refresh = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._refresh):
            packed.refresh()
        pool = torch.cuda.graph_pool_handle()  # shared: one graph runs at a time, and its results are used at once
        self._graphs: dict[int, _Graph] = {}
        self._sizes = graph_sizes(sizes.tokens, GRAPH_STEP, GRAPHS)
        for size in reversed(self._sizes):
            # One record alone needs no variable-length attention: a faster kernel takes it.
            documents = 1 if sizes.records == 1 else sizes.records + -(-size // sizes.longest)
            lengths = {"input_ids": size, "places": size, "starts": documents + 1}
            lengths |= dict.fromkeys(("keep", "labels", "weights"), sizes.answers)
            batch = {name: torch.zeros(length, dtype=KINDS[name], device="cuda") for name, length in lengths.items()}
            self._starts(batch, [0])
            warm = 0 if self._graphs else WARM
            self._graphs[size] = _Graph(packed, batch, sizes.longest, pool, warm)

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the loss of a pack, a scalar; its backward adds the gradients, computed already, to `trained`."""
        return _Replay.apply(self, batch, self._trigger)

    def replay(self, batch: dict[str, Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return a pack's loss and gradients, in buffers that the next pack overwrites."""
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
        """Write the documents' bounds; fill the rest of the graph's size with documents of at most `longest` tokens."""
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
