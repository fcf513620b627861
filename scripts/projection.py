"""Linear layers that read the same tokens, with NeMo's LoRA, as one matrix product forward and one backward."""

from collections.abc import Sequence
from typing import Any

import torch

from frozen_weight import Frozen, Frozen8

Tensor = torch.Tensor
COLUMNS = 64  # LoRA's columns beside a frozen weight are a multiple of this: the products' tiles stay whole


class Projection:
    """Linear layers that read the same tokens, as one.

    `beside` puts B beside the frozen weight; `room` is then the columns that the input must have free. In FP8 the
    frozen weight alone is rounded, and what it is multiplied with; B has a product of its own.
    """

    def __init__(self, linears: Sequence[torch.nn.Linear], beside: bool, fp8: bool) -> None:
        self.inputs = linears[0].in_features
        self.adapted = [linear for linear in linears if hasattr(linear, "lora_a")]
        self.rank = sum(linear.dim for linear in self.adapted)
        self.room = -(-self.rank // COLUMNS) * COLUMNS if beside and not fp8 else 0
        frozen = [linear.weight.detach() for linear in linears]
        whole = frozen[0].new_zeros(sum(len(weight) for weight in frozen), self.inputs + self.room)
        self.outputs: list[slice] = []
        begin = 0
        for linear, weight in zip(linears, frozen, strict=True):
            rows = whole[begin : begin + len(weight), : self.inputs]
            rows.copy_(weight)
            linear.weight.data = rows.new_empty(0) if fp8 else rows  # in memory once
            if linear in self.adapted:
                self.outputs.append(slice(begin, begin + len(weight)))
            begin += len(weight)
        self.weight = Frozen8(whole) if fp8 else Frozen(whole)
        self.a = whole.new_zeros(self.rank, self.inputs)
        beside_frozen = whole[:, self.inputs : self.inputs + self.rank]
        self.b = beside_frozen if self.room else whole.new_zeros(len(whole), self.rank)

    def parameters(self) -> list[Tensor]:
        """Return A and B of each adapted linear layer, in turn."""
        return [weight for linear in self.adapted for weight in (linear.lora_a.weight, linear.lora_b.weight)]

    def refresh(self) -> None:
        """Take up A and B as they are now."""
        for linear, rows, columns in self._places():
            self.a[columns] = linear.lora_a.weight.detach().to(self.a.dtype)
            self.b[rows, columns] = (linear.lora_b.weight.detach() * linear.scale).to(self.b.dtype)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the layers' outputs (plus the residual) side by side, and A's product."""
        if self.room:
            z = x[:, self.inputs : self.inputs + self.rank]
            z.copy_(x[:, : self.inputs] @ self.a.T)
            return self.weight.product(x), z
        y = self.weight.product(x, residual)
        if not self.rank:
            return y, x[:, :0]
        z = x @ self.a.T
        return y.addmm_(z, self.b.T), z

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of the input (with its free columns) and of A's product."""
        dx = self.weight.gradient(dy)
        if not self.rank:
            return dx, dy[:, :0]
        dz = dx[:, self.inputs : self.inputs + self.rank] if self.room else dy @ self.b
        dx[:, : self.inputs].addmm_(dz, self.a)
        return dx, dz

    def gradients(self, x: Tensor, z: Tensor, dy: Tensor, dz: Tensor) -> list[Tensor]:
        """Return the gradients of `parameters()`."""
        if not self.rank:
            return []
        a, b = dz.T @ x[:, : self.inputs], dy.T @ z
        found = []
        for linear, rows, columns in self._places():
            found += [a[columns].to(linear.lora_a.weight.dtype)]
            found += [b[rows, columns].to(linear.lora_b.weight.dtype) * linear.scale]
        return found

    def _places(self) -> list[tuple[Any, slice, slice]]:
        """Return each adapted layer, its rows among the outputs, and its columns among the ranks."""
        begins = [sum(linear.dim for linear in self.adapted[:number]) for number in range(len(self.adapted))]
        columns = [slice(begin, begin + linear.dim) for begin, linear in zip(begins, self.adapted, strict=True)]
        return list(zip(self.adapted, self.outputs, columns, strict=True))
