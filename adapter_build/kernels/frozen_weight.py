"""What a frozen weight is multiplied with, forward and backward: in its own type, or in FP8."""

import torch

from adapter_build.kernels import llama_kernels
from adapter_build.kernels.llama_kernels import Rounded

Tensor = torch.Tensor
PART = 1024  # rows of a weight that are rounded at once: in float32 meanwhile


class Frozen:
    """A frozen weight (outputs, inputs). `rounds` is whether its products are of rounded values."""

    rounds = False

    def __init__(self, whole: Tensor) -> None:
        self._whole = whole

    def product(self, x: Tensor, residual: Tensor | None = None, rounded: Rounded | None = None) -> Tensor:
        """Return x times the weight, transposed, plus the residual. `rounded` is x rounded, if that is known."""
        whole = self._full(x.dtype)
        return x @ whole.T if residual is None else torch.addmm(residual, x, whole.T)

    def gradient(self, dy: Tensor, rounded: Rounded | None = None) -> Tensor:
        """Return the gradient of x."""
        return dy @ self._full(dy.dtype)

    def _full(self, dtype: torch.dtype) -> Tensor:
        return self._whole


class Held8(Frozen):
    """A frozen weight that memory holds in FP8 (e4m3), each row with a scale of its own: a byte for each value.

    Its products are those of the rounded weight, in full.
    """

    def __init__(self, whole: Tensor) -> None:
        parts = zip(*map(llama_kernels.quantize_anywhere, whole.split(PART)), strict=True)
        self._rows, self._scale = (torch.cat(part) for part in parts)

    def _full(self, dtype: torch.dtype) -> Tensor:
        return self._rows.to(dtype).mul_(self._scale.to(dtype))


class Frozen8:
    """A frozen weight in FP8 (e4m3), once by rows and once by columns; what it is multiplied with is rounded by rows.

    Each row has a scale of its own, by which its greatest value becomes FP8's greatest.
    """

    rounds = True

    def __init__(self, whole: Tensor) -> None:
        self._rows, self._columns = llama_kernels.quantize(whole), llama_kernels.quantize(whole.T.contiguous())

    def product(self, x: Tensor, residual: Tensor | None = None, rounded: Rounded | None = None) -> Tensor:
        """Return x times the weight, transposed, plus the residual. `rounded` is x rounded, if that is known."""
        y = llama_kernels.product8(rounded or llama_kernels.quantize(x), self._rows, x.dtype)
        return y if residual is None else y.add_(residual)

    def gradient(self, dy: Tensor, rounded: Rounded | None = None) -> Tensor:
        """Return the gradient of x."""
        return llama_kernels.product8(rounded or llama_kernels.quantize(dy), self._columns, dy.dtype)
