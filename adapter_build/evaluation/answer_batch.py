"""One batch of prompts and what attention keeps of them, from which their answers' tokens come step by step.

A prompt's tokens keep their places 0, 1, 2, …; what fills its row up stands behind them, where causal attention does
not look, so that prompts need neither a shift nor a mask. The tokens of answers are kept behind the longest prompt,
one slot for each step, and attention leaves out what lies between.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "answering"
CHUNK = 8192  # prompt tokens that go through a layer at once: a bound of memory
ALIGNED = 16  # slots: attention's mask is copied for every layer where its rows are not a multiple

Tensor = torch.Tensor


class AnswerBatch:
    """Prompts, the shortest first, of a transformers Llama; per layer keys and values, (slots, rows, heads, size).

    `most` is how many tokens an answer may have.
    """

    def __init__(self, model: Any, prompts: Sequence[list[int]], most: int) -> None:
        model.config._attn_implementation = NAME
        self.most = most
        self._model, self._prompts = model, prompts
        self._width = len(prompts[-1])
        self._device, dtype = model.lm_head.weight.device, model.lm_head.weight.dtype
        config, attention = model.config, model.model.layers[0].self_attn
        self._group = attention.num_key_value_groups
        slots = -(-(self._width + most) // ALIGNED) * ALIGNED
        shape = (slots, len(prompts), config.num_key_value_heads, attention.head_dim)
        # Zeros: what a mask leaves out is multiplied by 0, and so must be a number.
        self._kept = [
            tuple(torch.zeros(shape, dtype=dtype, device=self._device) for _ in "kv") for _ in model.model.layers
        ]
        self._lengths = torch.tensor([[len(prompt)] for prompt in prompts], device=self._device)
        self._slots = torch.arange(slots, device=self._device)
        self._slot = torch.tensor([self._width], device=self._device)  # of the token that comes next
        self.tokens = torch.zeros(len(prompts), 1, dtype=torch.long, device=self._device)

    def read(self) -> None:
        """Take in the prompts; `tokens`, (rows, 1), are then their answers' first."""
        for rows in self._chunks():
            prompts, lengths = self._prompts[rows], self._lengths[rows, 0]
            width = len(prompts[-1])
            filled = torch.tensor([prompt + prompt[:1] * (width - len(prompt)) for prompt in prompts])
            x = self._states(filled.to(self._device), self._slots[None, :width], self._reading(rows))
            self.tokens[rows, 0] = self._best(x[torch.arange(len(prompts), device=self._device), lengths - 1])

    def step(self) -> None:
        """Replace `tokens` by those that follow. Nothing here waits for a GPU, and every size is fixed."""
        seen = (self._slots < self._lengths) | ((self._slots >= self._width) & (self._slots <= self._slot))
        bias = torch.where(seen, 0.0, float("-inf")).to(self._kept[0][0].dtype)
        bias = bias[:, None, None].expand(-1, -1, self._group, -1).contiguous()
        here = (self._slots[self._width :] == self._slot)[:, None, None, None]
        x = self._states(self.tokens, self._lengths + (self._slot - self._width), self._writing(here, bias))
        self.tokens.copy_(self._best(x))
        self._slot += 1

    def _chunks(self) -> Iterator[slice]:
        begin = 0
        for end in range(1, len(self._prompts) + 1):
            if end == len(self._prompts) or (end + 1 - begin) * len(self._prompts[end]) > CHUNK:
                yield slice(begin, end)
                begin = end

    def _states(self, tokens: Tensor, places: Tensor, attend: Callable[..., Tensor]) -> Tensor:
        """Return the last layer's output, (rows, tokens, hidden)."""
        inner = self._model.model
        x = inner.embed_tokens(tokens)
        turns = inner.rotary_emb(x, places)
        for layer in inner.layers:
            x = layer(x, position_embeddings=turns, attend=attend)[0]
        return x

    def _best(self, x: Tensor) -> Tensor:
        return self._model.lm_head(self._model.model.norm(x)).argmax(-1)

    def _reading(self, rows: slice) -> Callable[..., Tensor]:
        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
            for kept, new in zip(self._kept[layer], (k, v), strict=True):
                kept[: new.shape[2], rows] = new.permute(2, 0, 1, 3)
            return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True).transpose(1, 2)

        return attend

    def _writing(self, here: Tensor, bias: Tensor) -> Callable[..., Tensor]:
        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
            for kept, new in zip(self._kept[layer], (k, v), strict=True):
                answers = kept[self._width :]  # all of them are written: PyTorch's indexed copies may wait for a GPU
                torch.where(here, new.permute(2, 0, 1, 3), answers, out=answers)
            keys, values = (kept.permute(1, 2, 0, 3) for kept in self._kept[layer])
            # The heads that share keys stand where tokens stand otherwise: no key is copied for each of them.
            shared = q.reshape(*keys.shape[:2], self._group, -1)
            return scaled_dot_product_attention(shared, keys, values, attn_mask=bias, scale=scale)

        return attend


def _attention(
    module: torch.nn.Module,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: None,
    scaling: float,
    attend: Callable[..., Tensor],
    **_: object,
) -> tuple[Tensor, None]:
    """Attend as transformers asks for it: q, k and v are (rows, heads, tokens, size); it joins what follows tokens."""
    return attend(module.layer_idx, q, k, v, scaling), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
