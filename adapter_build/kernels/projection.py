"""Linear layers that read the same tokens, with NeMo's LoRA, as one matrix product forward and one backward."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adapter_build.kernels import llama_kernels
from adapter_build.kernels.frozen_weight import Frozen, Frozen8
from adapter_build.kernels.llama_kernels import Rounded
from adapter_build.kernels.packing import LORA_COLUMNS


class Projection:
    """Linear layers that read the same tokens, as one matrix product; `weight` holds and multiplies the frozen weights.

    `beside` puts B beside the frozen weight, where that is in full precision: the input then needs `room` free columns
    (a multiple of LORA_COLUMNS) to the right of its own. `leaves_b` leaves z · Bᵀ to the reader of the output, where B
    is not beside the weight; `leaves_a` leaves dz · A to the reader of the input's gradient.
    """

    def __init__(
        self,
        linears: Sequence[torch.nn.Linear],
        weight: type[Frozen | Frozen8] = Frozen,
        beside: bool = False,
        leaves_b: bool = False,
        leaves_a: bool = False,
    ) -> None:
        self.inputs = linears[0].in_features
        self.adapted = [linear for linear in linears if hasattr(linear, "lora_a")]
        self.rank = sum(linear.dim for linear in self.adapted)
        self.room = -(-self.rank // LORA_COLUMNS) * LORA_COLUMNS if beside and weight is Frozen else 0
        self._leaves_b, self._leaves_a = leaves_b and not self.room, leaves_a
        frozen = [linear.weight.detach() for linear in linears]
        whole = frozen[0].new_zeros(sum(len(weight) for weight in frozen), self.inputs + self.room)
        self.outputs: list[slice] = []
        begin = 0
        for linear, part in zip(linears, frozen, strict=True):
            rows = whole[begin : begin + len(part), : self.inputs]
            rows.copy_(part)
            linear.weight.data = rows if weight is Frozen else rows.new_empty(0)  # in memory once
            if linear in self.adapted:
                self.outputs.append(slice(begin, begin + len(part)))
            begin += len(part)
        self.weight = weight(whole)
        self.a = whole.new_zeros(self.rank, self.inputs)
        beside_frozen = whole[:, self.inputs : self.inputs + self.rank]
        self.b = beside_frozen if self.room else whole.new_zeros(len(whole), self.rank)

    def parameters(self) -> list[Tensor]:
        """Return A (rank, inputs) and B (outputs, rank) of each adapted linear layer, in turn, float32."""
        return [weight for linear in self.adapted for weight in (linear.lora_a.weight, linear.lora_b.weight)]

    def refresh(self) -> None:
        """Copy A, times LoRA's scale, and B as they are now, in the frozen weights' dtype."""
        for linear, rows, columns in self._blocks():
            self.a[columns] = (linear.lora_a.weight.detach() * linear.scale).to(self.a.dtype)
            self.b[rows, columns] = linear.lora_b.weight.detach().to(self.b.dtype)

    def forward(
        self, x: Tensor, residual: Tensor | None = None, rounded: Rounded | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the layers' outputs side by side (tokens, outputs), plus the residual, and z (tokens, ranks).

        x is (tokens, inputs + room); `rounded` is x in FP8, where that is known.
        """
        if self.room:
            z = self.a_product(x)
            return self.weight.product(x, residual), z
        together = residual is not None and self.rank and self.weight.rounds
        y = self.weight.product(x, None if together else residual, rounded)
        z = self.a_product(x)
        if together:
            return llama_kernels.finish(y, residual, z, self.b), z
        return (y.addmm_(z, self.b.T) if self.rank and not self._leaves_b else y), z

    def a_product(self, x: Tensor) -> Tensor:
        """Return z = x · Aᵀ (tokens, ranks): a view of x's free columns where x has them."""
        if not self.room:
            return x @ self.a.T if self.rank else x[:, :0]
        return x[:, self.inputs : self.inputs + self.rank].copy_(x[:, : self.inputs] @ self.a.T)

    def left_b(self, z: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return z and B if their product was left to the reader, None if it is in the output."""
        return (z, self.b) if self._leaves_b and self.rank else None

    def backward(self, dy: Tensor, rounded: Rounded | None = None) -> tuple[Tensor, Tensor]:
        """Return the gradients of the input (tokens, inputs + room) and of z (tokens, ranks).

        dy is (tokens, outputs); `rounded` is dy in FP8, where that is known.
        """
        dx = self.weight.gradient(dy, rounded)
        if not self.rank:
            return dx, dy[:, :0]
        dz = dx[:, self.inputs : self.inputs + self.rank] if self.room else dy @ self.b
        if not self._leaves_a:
            dx[:, : self.inputs].addmm_(dz, self.a)
        return dx, dz

    def left_a(self, dz: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return dz and A if their product was left to the reader, None if it is in the input's gradient."""
        return (dz, self.a) if self._leaves_a and self.rank else None

    def gradients(self, x: Tensor, z: Tensor, dy: Tensor, dz: Tensor) -> list[Tensor]:
        """Return the gradients of `parameters()`, in their order, shapes and dtype."""
        if not self.rank:
            return []
        kind = self.adapted[0].lora_a.weight.dtype
        a = _product(dz.T, x[:, : self.inputs], kind).mul_(self.adapted[0].scale)
        return [
            gradient
            for _, rows, columns in self._blocks()
            for gradient in (a[columns], _product(dy[:, rows].T, z[:, columns], kind))
        ]

    def _blocks(self) -> list[tuple[Any, slice, slice]]:
        """Return each adapted layer, its rows among the outputs, and its columns among the ranks."""
        begins = [sum(linear.dim for linear in self.adapted[:number]) for number in range(len(self.adapted))]
        columns = [slice(begin, begin + linear.dim) for begin, linear in zip(begins, self.adapted, strict=True)]
        return list(zip(self.adapted, self.outputs, columns, strict=True))


def _product(left: Tensor, right: Tensor, kind: torch.dtype) -> Tensor:
    """Return the product in another dtype; a GPU does not round it to the factors' own first."""
    if left.is_cuda and left.dtype != kind:
        return torch.mm(left, right, out_dtype=kind)
    return (left @ right).to(kind)
