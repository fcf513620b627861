"""Causal attention within each document of a pack, never from one to another."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "packed"
FASTEST = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@dataclass(frozen=True)
class Documents:
    """Where each document of a pack begins, and where the last one ends: as a tensor (int32), and as numbers.

    `longest` is a bound of their tokens. A GPU looks at the tensor alone, where it tells more than one document.
    """

    starts: torch.Tensor
    bounds: Sequence[int]
    longest: int

    @classmethod
    def of(cls, starts: torch.Tensor, bounds: Sequence[int]) -> "Documents":
        """Return those of a pack."""
        return cls(starts, bounds, max(end - begin for begin, end in pairwise(bounds)))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, documents: Documents, scale: float) -> torch.Tensor:
    """Return the output (tokens, heads, size) for q of that shape and k, v of fewer heads."""
    if q.is_cuda and q.dtype != torch.float32 and len(documents.starts) > 2:
        longest = documents.longest
        # What torch.nn.attention.varlen calls; that one takes grouped heads only from PyTorch 2.12 on.
        return torch.ops.aten._flash_attention_forward(
            q, k, v, documents.starts, documents.starts, longest, longest, 0.0, True, False, scale=scale
        )[0]
    q, k, v = (part.transpose(0, 1).unsqueeze(0) for part in (q, k, v))
    parts = [
        scaled_dot_product_attention(
            q[:, :, begin:end], k[:, :, begin:end], v[:, :, begin:end], is_causal=True, scale=scale, enable_gqa=True
        )
        for begin, end in pairwise(documents.bounds)
    ]
    return torch.cat(parts, 2).squeeze(0).transpose(0, 1)


@contextmanager
def steady(asked: bool) -> Iterator[None]:
    """Give attention's gradients the same bytes each time if that is asked, else by the fastest kernels there are."""
    if asked or not torch.are_deterministic_algorithms_enabled():
        yield
        return
    torch.use_deterministic_algorithms(False)
    try:
        with sdpa_kernel(FASTEST, set_priority=True):
            yield
    finally:
        torch.use_deterministic_algorithms(True)


def _attention(
    module: torch.nn.Module,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: None,
    scaling: float,
    documents: Documents,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers asks for it: q, k and v are (1, heads, tokens, size)."""
    q, k, v = (part.squeeze(0).transpose(0, 1) for part in (q, k, v))
    return attend(q, k, v, documents, scaling).unsqueeze(0), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
