"""Frozen weights, and their products forward and backward: in the weight's own dtype, or in FP8 (e4m3)."""

import torch
from torch import Tensor

from adapter_build.kernels import llama_kernels
from adapter_build.kernels.llama_kernels import Rounded

PART = 1024  # rows of a weight that are rounded at once, since rounding takes a float32 copy of them


class Frozen:
    """A frozen weight (outputs, inputs) in its own dtype. `rounds` tells if its products are of rounded values."""

    rounds = False

    def __init__(self, whole: Tensor) -> None:
        self._whole = whole

    def product(self, x: Tensor, residual: Tensor | None = None, rounded: Rounded | None = None) -> Tensor:
        """Return x · Wᵀ (tokens, outputs), plus the residual, in x's dtype; `rounded` is x in FP8, if known."""
        whole = self._full(x.dtype)
        return x @ whole.T if residual is None else torch.addmm(residual, x, whole.T)

    def gradient(self, dy: Tensor, rounded: Rounded | None = None) -> Tensor:
        """Return x's gradient dy · W (tokens, inputs); `rounded` is dy in FP8, where that is known."""
        return dy @ self._full(dy.dtype)

    def _full(self, dtype: torch.dtype) -> Tensor:
        return self._whole


class Held8(Frozen):
    """A frozen weight held in FP8 (e4m3), one byte a value, each row with a float32 scale of its own.

    Its products are in x's dtype, of the rounded weight.
    """

    def __init__(self, whole: Tensor) -> None:
        parts = zip(*map(llama_kernels.quantize_anywhere, whole.split(PART)), strict=True)
        self._rows, self._scale = (torch.cat(part) for part in parts)

    def _full(self, dtype: torch.dtype) -> Tensor:
        return self._rows.to(dtype).mul_(self._scale.to(dtype))


class Frozen8:
    """A frozen weight in FP8 (e4m3), once by rows and once by columns; the other factor is rounded by rows.

    Each row has a scale of its own, which makes its largest value FP8's largest, 448.
    """

    rounds = True

    def __init__(self, whole: Tensor) -> None:
        self._rows, self._columns = llama_kernels.quantize(whole), llama_kernels.quantize(whole.T.contiguous())

    def product(self, x: Tensor, residual: Tensor | None = None, rounded: Rounded | None = None) -> Tensor:
        """Return x · Wᵀ (tokens, outputs), plus the residual, in x's dtype; `rounded` is x in FP8, if known."""
        y = llama_kernels.product8(rounded or llama_kernels.quantize(x), self._rows, x.dtype)
        return y if residual is None else y.add_(residual)

    def gradient(self, dy: Tensor, rounded: Rounded | None = None) -> Tensor:
        """Return x's gradient dy · W (tokens, inputs); `rounded` is dy in FP8, where that is known."""
        return llama_kernels.product8(rounded or llama_kernels.quantize(dy), self._columns, dy.dtype)
