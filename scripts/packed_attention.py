"""Causal attention within each document of a pack, never from one to another."""

from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "packed"


@dataclass(frozen=True)
class Documents:
    """Where each document of a pack begins, and where the last one ends: as a tensor (int32), and as numbers."""

    starts: torch.Tensor
    bounds: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the longest document."""
        return max(end - begin for begin, end in self.spans())

    def spans(self) -> list[tuple[int, int]]:
        """Return each document's first token and the one after its last."""
        return list(zip(self.bounds, self.bounds[1:], strict=False))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, documents: Documents, scale: float) -> torch.Tensor:
    """Return the output (tokens, heads, size) for q of that shape and k, v of fewer heads."""
    spans = documents.spans()
    if q.is_cuda and len(spans) > 1:
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
        for begin, end in spans
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
    """Attend as transformers asks for it: q, k and v are (1, heads, tokens, size)."""
    q, k, v = (part.squeeze(0).transpose(0, 1) for part in (q, k, v))
    return attend(q, k, v, documents, scaling).unsqueeze(0), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
