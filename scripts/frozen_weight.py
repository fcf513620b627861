"""What a frozen weight is multiplied with, forward and backward: in its own type, or in FP8."""

import torch

import llama_kernels

Tensor = torch.Tensor


class Frozen:
    """A frozen weight (outputs, inputs)."""

    def __init__(self, whole: Tensor) -> None:
        self.whole, self.outputs = whole, len(whole)

    def product(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return x times the weight, transposed, plus the residual."""
        return x @ self.whole.T if residual is None else torch.addmm(residual, x, self.whole.T)

    def gradient(self, dy: Tensor) -> Tensor:
        """Return the gradient of x."""
        return dy @ self.whole


class Frozen8:
    """A frozen weight in FP8 (e4m3), once by rows and once by columns; what it is multiplied with is rounded by rows.

    Each row has a scale of its own, by which its greatest value becomes FP8's greatest.
    """

    def __init__(self, whole: Tensor) -> None:
        self.outputs = len(whole)
        self._rows, self._columns = llama_kernels.quantize(whole), llama_kernels.quantize(whole.T.contiguous())

    def product(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return x times the weight, transposed, plus the residual."""
        y = llama_kernels.product8(x, *self._rows)
        return y if residual is None else y.add_(residual)

    def gradient(self, dy: Tensor) -> Tensor:
        """Return the gradient of x."""
        return llama_kernels.product8(dy, *self._columns)
