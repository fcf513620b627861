"""Greedy answers of a Llama to many prompts at once, each as it would be alone.

A prompt's tokens keep their places 0, 1, 2, …; the padding of its row stands behind them, where causal attention does
not look, so that prompts need neither a shift nor a mask. The keys and values of answers are kept behind those of the
longest prompt, one slot for each step, and attention leaves out the slots between:

    slot          0  1  2  3  4  5 │ 6  7  8 …            p: a prompt's tokens   -: padding, masked
    short prompt  p  p  p  -  -  - │ a  a  ·              a: an answer's tokens  ·: not yet written, masked
    long prompt   p  p  p  p  p  p │ a  a  ·

The places that rotary embeddings see have no gap: the short prompt's first a is at place 3.

On a GPU a step is recorded once as a CUDA graph: launched one by one, its two thousand kernels would take longer than
they run.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "answering"
CHUNK = 8192  # prompt tokens that go through a layer at once: a bound of memory
ALIGNED = 16  # slots: attention's mask is copied for every layer where its rows are not a multiple


class AnswerBatch:
    """A batch of prompts, the shortest first, with the keys and values that a transformers Llama's attention reads.

    These are, per layer, two tensors of (slots, rows, key heads, head size) in the weights' dtype. `most` is how many
    tokens an answer may have; `tokens`, (rows, 1), int64, are the latest of every answer.
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
        """Run the prompts through the model; `tokens` are then the answers' first."""
        for rows in self._chunks():
            prompts, lengths = self._prompts[rows], self._lengths[rows, 0]
            width = len(prompts[-1])
            filled = torch.tensor([prompt + prompt[:1] * (width - len(prompt)) for prompt in prompts])
            x = self._states(filled.to(self._device), self._slots[None, :width], self._reading(rows))
            self.tokens[rows, 0] = self._best(x[torch.arange(len(prompts), device=self._device), lengths - 1])

    def step(self) -> None:
        """Replace `tokens` by those that follow. Nothing waits for the GPU and no size changes: a graph can run it."""
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


def answers(
    model: Any, prompts: Sequence[list[int]], most: int, stops: Collection[int], together: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield the number of each prompt, batch by batch, with its answer's tokens, at most `most`.

    `model` is a transformers Llama, with or without PEFT's LoRA in its layers; its attention is replaced for good. An
    answer ends with the first of `stops`, which is its last token then. A batch has at most `together` tokens of
    prompts and answers, padding included, unless it is a single prompt.
    """
    for numbers in batches([len(prompt) for prompt in prompts], most, together):
        with torch.inference_mode():
            made = _answer(AnswerBatch(model, [prompts[number] for number in numbers], most), stops)
        yield from zip(numbers, made, strict=True)


def batches(lengths: Sequence[int], most: int, together: int) -> Iterator[list[int]]:
    """Yield the prompts' numbers, those of alike length together, the shortest first."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if batch and (len(batch) + 1) * (lengths[number] + most) > together:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _answer(batch: AnswerBatch, stops: Collection[int]) -> list[list[int]]:
    """Return the answers of one batch; it ends when all have ended."""
    batch.read()
    made = [[token] for token in batch.tokens[:, 0].tolist()]
    step: Callable[[], None] = batch.step
    for number in range(1, batch.most):
        if all(row[-1] in stops for row in made):
            break
        step()
        for row, token in zip(made, batch.tokens[:, 0].tolist(), strict=True):
            if row[-1] not in stops:
                row.append(token)
        if number == 1 and batch.tokens.is_cuda:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):  # it records and does not run
                batch.step()
            step = graph.replay
    return made
