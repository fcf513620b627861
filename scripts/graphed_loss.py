"""A packed model's loss and gradients as CUDA graphs: the GPU never waits for Python to start its next kernel.

A graph has one size: packs are filled up to a multiple of STEP tokens with a document that nothing is asked of. Each
size is recorded when it is first met.
"""

from collections.abc import Sequence
from typing import Any

import torch

from packed_attention import Documents
from packed_loss import PackedModel

STEP = 256  # tokens
WARM = 2  # passes before recording: libraries choose their kernels and take their memory in the first


class GraphedLoss:
    """Losses of packs of `records` records, `answers` answer tokens and `longest` tokens a record at the most.

    `trained` are the weights that get gradients.
    """

    def __init__(
        self, packed: PackedModel, trained: Sequence[torch.Tensor], records: int, answers: int, longest: int
    ) -> None:
        self._packed, self.trained = packed, list(trained)
        self._records, self._answers, self._longest = records, answers, longest
        self._graphs: dict[int, _Graph] = {}
        self._versions: list[int] = []
        # Makes autograd run the backward. A trained weight would too, and bind itself to a stream that no graph may use.
        self._asks = torch.zeros((), requires_grad=True)
        self._refresh: torch.cuda.CUDAGraph | None = None

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the loss of a pack; its backward adds the gradients, which are known already, to `trained`."""
        return _Replay.apply(self, batch, self._asks)

    def replay(self, batch: dict[str, Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return a pack's loss and gradients; they hold until the next pack's."""
        versions = [weight._version for weight in self.trained]
        if versions != self._versions:
            if self._refresh is None:
                self._packed.refresh()
                self._refresh = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._refresh):
                    self._packed.refresh()
            self._refresh.replay()
            self._versions = versions
        size = -(-len(batch["tokens"]) // STEP) * STEP
        if size not in self._graphs:
            self._graphs[size] = _Graph(self._packed, self.trained, self._static(size, batch), self._longest)
        graph = self._graphs[size]
        self._fill(graph.batch, batch, size)
        graph.graph.replay()
        return graph.loss, graph.gradients

    def _static(self, size: int, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the tensors of a graph."""
        # One record alone is no variable length: another kernel, and a faster one, attends to it.
        documents = 1 if self._records == 1 else self._records + -(-size // self._longest)
        sizes = {"tokens": size, "places": size, "starts": documents + 1}
        sizes |= dict.fromkeys(("keep", "labels", "weights"), self._answers)
        made = {name: batch[name].new_zeros(length) for name, length in sizes.items()}
        self._fill(made, batch, size)
        return made

    def _fill(self, made: dict[str, torch.Tensor], batch: dict[str, Any], size: int) -> None:
        made["weights"].zero_()
        for name in ("tokens", "places", "keep", "labels", "weights"):
            made[name][: len(batch[name])].copy_(batch[name], non_blocking=True)
        bounds = list(batch["bounds"])
        if len(made["starts"]) == 2:
            bounds = [0, size]
        while bounds[-1] < size:
            bounds.append(min(bounds[-1] + self._longest, size))
        bounds += [size] * (len(made["starts"]) - len(bounds))
        made["starts"].copy_(torch.tensor(bounds, dtype=torch.int32), non_blocking=True)


class _Graph:
    def __init__(
        self, packed: PackedModel, trained: list[torch.Tensor], batch: dict[str, torch.Tensor], longest: int
    ) -> None:
        self.batch = batch
        documents = Documents(batch["starts"], [0, len(batch["tokens"])], longest)

        def both() -> tuple[torch.Tensor, list[torch.Tensor]]:
            loss = packed.loss_of(batch, documents)
            return loss.detach(), list(torch.autograd.grad(loss, trained))

        with torch.enable_grad(), torch.autocast("cuda", enabled=False):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM):
                    both()
            torch.cuda.current_stream().wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
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
        missing = [weight for weight in ctx.trained if weight.grad is None]
        for weight in missing:
            weight.grad = torch.zeros_like(weight)
        torch._foreach_add_([weight.grad for weight in ctx.trained], gradients)
        return None, None, None
