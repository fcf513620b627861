"""Bytes of GPU memory that a Llama layer takes for each token, counted from what the code keeps.

A fused layer keeps what llama_layer's `_Layer` saves; a plain one what autograd saves of transformers' Llama layer with
NeMo's LoRA. On a GPU weights and most activations are in bfloat16.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from adapter_build.kernels.packing import LORA_COLUMNS
from adapter_build.models.llama_shape import heads_of

BF16, FP32, FP8 = 2, 4, 1  # bytes
PROCESSORS = 132  # of an H100: flash attention's backward, where it repeats itself, has ⌈these / heads⌉ sums
# FusedLayer's: linear layers that are one product, and whether the tokens that they read, with LoRA's columns beside
# them, are a norm's output, which is kept.
PROJECTIONS = (
    (("q_proj", "k_proj", "v_proj"), True), (("o_proj",), False), (("gate_proj", "up_proj"), True),
    (("down_proj",), False),
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama, by the keys of its config.json."""

    hidden: int
    inner: int
    layers: int
    heads: int
    queries: int  # outputs of q: heads · head's size
    keys: int  # outputs of k, and of v
    vocabulary: int
    tied: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Shape":
        """Return the sizes in a base's config.json. Raises `KeyError` for a base that is no Llama."""
        hidden, heads = config["hidden_size"], heads_of(config)
        vocabulary, tied = config["vocab_size"], config.get("tie_word_embeddings", False)
        layers, inner = config["num_hidden_layers"], config["intermediate_size"]
        return cls(
            hidden, inner, layers, heads.queries, heads.queries * heads.size, heads.keys * heads.size, vocabulary, tied
        )

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return (inputs, outputs) of each linear layer by name."""
        hidden, inner = self.hidden, self.inner
        return {
            "q_proj": (hidden, self.queries), "k_proj": (hidden, self.keys), "v_proj": (hidden, self.keys),
            "o_proj": (self.queries, hidden), "gate_proj": (hidden, inner), "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }  # fmt: skip


@dataclass(frozen=True)
class Work:
    """The largest pack or micro-batch of a run: its tokens, padding included, and those of them that have logits.

    `alone`: the pack is one record. `graphs`: the number of sizes that graphs are recorded for.
    """

    tokens: int
    answers: int
    alone: bool = False
    graphs: int = 1


def rank_of(adapter: Mapping[str, Any], names: Iterable[str]) -> int:
    """Return the ranks of LoRA in linear layers of these names together."""
    return adapter["rank"] * sum(name in adapter["target_modules"] for name in names)


def room_of(adapter: Mapping[str, Any], names: Iterable[str]) -> int:
    """Return LoRA's columns beside a frozen weight, and beside its input's tokens, in a fused layer."""
    if "fp8" in (adapter["products"], adapter.get("weights")) or "o_proj" in names:
        return 0
    return math.ceil(rank_of(adapter, names) / LORA_COLUMNS) * LORA_COLUMNS


def recomputed_bytes(shape: Shape) -> int:
    """Return the bytes per token that a recomputed layer keeps: its input."""
    return BF16 * shape.hidden


def saved_bytes(shape: Shape, adapter: Mapping[str, Any], work: Work) -> int:
    """Return the bytes per token that a layer saves for its backward."""
    hidden, inner, queries, keys = shape.hidden, shape.inner, shape.queries, shape.keys
    attention = FP32 * shape.heads  # the logarithm of each softmax's sum
    if adapter["kernels"] == "plain":
        wide = 2 * FP32 * hidden  # both norms' input in float32
        normed = sum(hidden for names, has_room in PROJECTIONS if has_room and rank_of(adapter, names))  # A's inputs
        heads = 2 * queries + 2 * keys if adapter["pack_length"] else 4 * queries  # transformers repeats k and v
        gated = inner * (4 if rank_of(adapter, ("down_proj",)) else 3)  # gate, its silu, up, and A's input
        ranks = rank_of(adapter, shape.sizes)
        dropped = sum(shape.sizes[name][1] for name in adapter["target_modules"]) if adapter["dropout"] else 0  # masks
        return wide + BF16 * (normed + heads + gated + ranks) + attention + dropped
    rooms = sum(room_of(adapter, names) or rank_of(adapter, names) for names, has_room in PROJECTIONS if has_room)
    ranks = sum(rank_of(adapter, names) for names, has_room in PROJECTIONS if not has_room)
    copies = 2 * queries if work.alone else 0  # packed_attention's `cat`, and its flattening
    values = 4 * hidden + 2 * queries + 2 * keys + 2 * inner + rooms + ranks + copies
    return BF16 * values + 2 * FP32 + attention


def backward_bytes(shape: Shape, adapter: Mapping[str, Any], work: Work) -> int:
    """Return the bytes per token that a layer's backward takes beside what was saved."""
    hidden, inner, queries, keys = shape.hidden, shape.inner, shape.queries, shape.keys
    sums = math.ceil(PROCESSORS / shape.heads) if work.alone or not adapter["pack_length"] else 1
    flash = FP32 * queries * sums + BF16 * 2 * queries  # dq's sums, and dk and dv for every head of q
    if adapter["kernels"] == "plain":
        return max(BF16 * (hidden + 3 * inner), BF16 * (hidden + queries) + flash)
    # dout, of both norms' outputs and inputs; dh and h; attention's output; q, k and v in parts and side by side
    gradients = 5 * hidden + 2 * inner + queries + 2 * (queries + 2 * keys)
    rounded = FP8 * inner if adapter["products"] == "fp8" else 0
    return BF16 * gradients + flash + rounded
