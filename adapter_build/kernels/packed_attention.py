"""Causal attention within each document of a pack, never from one to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "packed"


@dataclass(frozen=True)
class Documents:
    """Bounds of a pack's documents in tokens: where each begins, and where the last one ends.

    `starts` holds them as a tensor (documents + 1), int32, `bounds` as numbers; `longest` is an upper bound of a
    document's tokens. A GPU reads the tensor alone, where there is more than one document.
    """

    starts: torch.Tensor
    bounds: Sequence[int]
    longest: int

    @classmethod
    def of(cls, starts: torch.Tensor, bounds: Sequence[int]) -> "Documents":
        """Return the bounds of a pack; `longest` is taken from them."""
        return cls(starts, bounds, max(end - begin for begin, end in pairwise(bounds)))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, documents: Documents, scale: float) -> torch.Tensor:
    """Return attention's output (tokens, heads, head size), in q's dtype.

    q has that shape; k and v are (tokens, key heads, head size), where heads are a multiple of key heads. A token sees
    itself and the tokens before it in its own document. `scale` multiplies q · k before the softmax.
    """
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
    """Attend as transformers calls it: q, k and v are (1, heads, tokens, head size)."""
    q, k, v = (part.squeeze(0).transpose(0, 1) for part in (q, k, v))
    return attend(q, k, v, documents, scaling).unsqueeze(0), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
