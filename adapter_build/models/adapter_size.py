"""Bounds on the size of an adapter: of each product B·A, scaled, against the weight that it is added to.

Sizes of honest adapters, as the Frobenius norm of scale · B·A over that of the base's weight: 3e-5 to 0.02 in the
default build (rank 8, 40 steps), 0.03 to 0.04 in the tests' two-layer model (scale 4), about 1 with rank 256, rsLoRA's
scale of 16 and weights of 0.01, and 32 for matrices of noise with weights of size 1. Above GREATEST_CHANGE nothing of
the base is left in the sum; far above, activations leave the range of float16 (65,504), then of float32, and the NaN in
the engine's cache makes others' answers empty. Below LEAST_CHANGE the rounding of float32 (6e-8) hides the change.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import open_regular
from adapter_build.models.adapter_settings import scale_of
from adapter_build.models.safetensors_file import BITS, DTYPES, as_float32, read_header
from adapter_build.models.weight_files import FETCH

GREATEST_CHANGE, LEAST_CHANGE = 100.0, 1e-6
ROWS = 64  # of a base's weight, evenly spaced, of which its norm is estimated: within a few per cent
FLOOR = 0.1  # of the norm that keeps sizes as they are: some bases have layers that are all zero


class BaseNorms:
    """Frobenius norms of a base's weights, each estimated at its first use; without files, those of usual weights."""

    def __init__(self, files: Iterable[Path] = ()) -> None:
        """`files` are the base's safetensors. Raises `BadInput` for one that is not whole."""
        self._places = {
            tensor: (path, entry, offset)
            for path in files
            for offset, header in [read_header(path, FETCH, BITS)]
            for tensor, entry in header.items()
        }
        self._known: dict[str, float] = {}

    def norm(self, tensor: str, outputs: int) -> float:
        """Return a weight's Frobenius norm; if unknown, sqrt(outputs), that of a weight that keeps its input's size."""
        usual = math.sqrt(outputs)
        if tensor in self._places and tensor not in self._known:
            self._known[tensor] = self._estimated(*self._places[tensor])
        return max(self._known.get(tensor, usual), FLOOR * usual)

    @staticmethod
    def _estimated(path: Path, entry: Mapping[str, Any], offset: int) -> float:
        if entry["dtype"] not in DTYPES or len(entry["shape"]) != 2:
            return 0.0
        rows, columns = entry["shape"]
        size = columns * BITS[entry["dtype"]] // 8
        step = max(1, rows // ROWS)
        total, taken = 0.0, 0
        with open_regular(path, links=True) as file:
            for row in range(0, rows, step):
                file.seek(offset + entry["data_offsets"][0] + row * size)
                numbers = as_float32(file.read(size), entry["dtype"]).astype(np.float64)
                total, taken = total + float(numbers @ numbers), taken + 1
        found = math.sqrt(total * rows / taken) if taken else 0.0
        return found if math.isfinite(found) else 0.0


class LargestChange:
    """The largest change that an adapter makes, found pair by pair. `name` is the adapter's, `path` its weights."""

    def __init__(self, path: Path, config: Mapping[str, Any], base: BaseNorms, name: str) -> None:
        self._path, self._base, self._name = path, base, name
        self._scale = scale_of(config)
        self._greatest, self._of, self._beside = 0.0, "", 0.0

    def add(self, tensor: str, a: np.ndarray, b: np.ndarray) -> None:
        """Take in a pair, `a` (r, inputs) and `b` (outputs, r), both finite float32; `tensor` is the name of A."""
        weight = tensor.removeprefix("base_model.model.").replace(".lora_A.", ".")
        base = self._base.norm(weight, len(b))
        change = self._scale * float(np.linalg.norm(a)) * float(np.linalg.norm(b)) / base  # no product is larger
        if change > GREATEST_CHANGE or self._greatest < LEAST_CHANGE:
            change = self._scale * product_norm(a, b) / base
        if change > self._greatest:
            self._greatest, self._of, self._beside = change, tensor, base

    def check(self) -> None:
        """Raise `BadInput` where a product is too large, or none is large enough to show in an answer."""
        if self._greatest > GREATEST_CHANGE:
            raise BadInput(
                f"{self._path}: tensor {self._of.replace('.lora_A.', '.lora_B.')}: B·A times {self._scale:g}, the "
                f"scale, has the norm {self._greatest * self._beside:.3g}, {self._greatest:.3g} times that of the "
                f"base's weight ({self._beside:.3g}), above {GREATEST_CHANGE:g} times: lower "
                f"adapters.{self._name}.alpha or adapters.{self._name}.learning_rate"
            )
        if self._greatest < LEAST_CHANGE:
            found = (
                f"no product of lora_A and lora_B reaches {LEAST_CHANGE:g} times its base's weight (the greatest, of "
                f"{self._of}, {self._greatest:.2g})"
                if self._of
                else "every product of lora_A and lora_B is zero"
            )
            raise BadInput(
                f"{self._path}: {found}, so the adapter is its base: raise adapters.{self._name}.max_steps, "
                f"adapters.{self._name}.learning_rate or adapters.{self._name}.alpha"
            )


def product_norm(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Frobenius norm of b·a without the product: ‖b·a‖² = tr(aᵀ·bᵀ·b·a) = Σ (a·aᵀ) ∘ (bᵀ·b), both r by r."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return math.sqrt(max(0.0, float(np.sum((a @ a.T) * (b.T @ b)))))
