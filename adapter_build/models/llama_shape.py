"""The shape of a Llama-shaped base, by its config.json: heads, tensors, the modules that adapters go to, positions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from adapter_build.core.faults import BadInput, guard
from adapter_build.core.printable import shown
from adapter_build.core.strict_json import given_object

MEND = "check base.name or base.path"
# With these, max_position_embeddings is the length before the rotary embedding is stretched (as vLLM reads it, too).
STRETCHED_AFTER = ("linear", "dynamic")
# Far above any base's: a larger number is a damaged file's, and would be counted up to for hours.
GREATEST, GREATEST_SIZE = {"num_hidden_layers": 1000}, 10**9
ATTENTION, MLP = "self_attn", "mlp"


class Heads(NamedTuple):
    """The heads of a Llama's attention: how many of queries, how many of keys and values, and the size of each."""

    queries: int
    keys: int
    size: int


def heads_of(config: Mapping[str, Any]) -> Heads:
    """Return the heads that a config.json gives, unchecked; the one place that knows its defaults.

    Every head of queries has keys of its own unless num_key_value_heads says that several share them, and together the
    heads are as wide as the hidden state unless head_dim says otherwise. Raises `KeyError` for a base that is no Llama.
    """
    queries = config["num_attention_heads"]
    size = config.get("head_dim") or max(config["hidden_size"] // queries, 1)
    return Heads(queries, config.get("num_key_value_heads") or queries, size)


@dataclass(frozen=True)
class LlamaShape:
    """Sizes of a base, by its config.json. `inner` is the MLP's width; `tied`: the output layer is the embedding."""

    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    layers: int
    vocabulary: int
    tied: bool
    biases: Mapping[str, bool]  # per block of a layer

    @property
    def modules(self) -> dict[str, tuple[str, int, int]]:
        """Mapping of linear module → (block of the layer, inputs, outputs)."""
        queries, keys = self.head * self.heads, self.head * self.kv_heads
        return {
            "q_proj": (ATTENTION, self.hidden, queries),
            "k_proj": (ATTENTION, self.hidden, keys),
            "v_proj": (ATTENTION, self.hidden, keys),
            "o_proj": (ATTENTION, queries, self.hidden),
            "gate_proj": (MLP, self.hidden, self.inner),
            "up_proj": (MLP, self.hidden, self.inner),
            "down_proj": (MLP, self.inner, self.hidden),
        }

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the base's tensors by name, each with its shape; a weight's is (outputs, inputs)."""
        found: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            found["lm_head.weight"] = (self.vocabulary, self.hidden)
        for number in range(self.layers):
            layer = f"model.layers.{number}"
            for module, (block, inputs, outputs) in self.modules.items():
                found[f"{layer}.{block}.{module}.weight"] = (outputs, inputs)
                if self.biases[block]:
                    found[f"{layer}.{block}.{module}.bias"] = (outputs,)
            for norm in ("input_layernorm", "post_attention_layernorm"):
                found[f"{layer}.{norm}.weight"] = (self.hidden,)
        return found


def shape_of(config: Mapping[str, Any], where: Path) -> LlamaShape:
    """Return the shape that a config.json gives. Raises `BadInput` naming a key whose value no Llama has."""
    for key in ("hidden_size", "num_attention_heads"):
        _size(config, key, where)
    _size(config, "num_key_value_heads", where, config["num_attention_heads"])
    heads = heads_of(config)
    if heads.queries % heads.keys:
        raise BadInput(
            f"{where}: num_key_value_heads is {heads.keys}, which does not divide num_attention_heads, "
            f"{heads.queries}: {MEND}"
        )
    return LlamaShape(
        hidden=config["hidden_size"],
        inner=_size(config, "intermediate_size", where),
        heads=heads.queries,
        kv_heads=heads.keys,
        head=_size(config, "head_dim", where, heads.size),
        layers=_size(config, "num_hidden_layers", where),
        vocabulary=_size(config, "vocab_size", where),
        tied=_flag(config, "tie_word_embeddings", where),
        biases={ATTENTION: _flag(config, "attention_bias", where), MLP: _flag(config, "mlp_bias", where)},
    )


def llama_modules(path: Path) -> tuple[dict[str, tuple[str, int, int]], int]:
    """Return module → (block, inputs, outputs) and the number of layers, from a Llama-shaped base's config.json."""
    shape = shape_of(given_object(path, MEND), path)
    return shape.modules, shape.layers


def positions(config: Mapping[str, Any], where: Path | str) -> int:
    """Return the number of positions, the tokens that a base can attend over. Raises `BadInput` without a sound one."""
    found = _size(config, "max_position_embeddings", where)
    rope = config.get("rope_scaling") or config.get("rope_parameters")
    if isinstance(rope, dict) and (rope.get("rope_type") or rope.get("type")) in STRETCHED_AFTER:
        factor = rope.get("factor", 1.0)
        if type(factor) in (int, float) and factor >= 1:
            return int(found * factor)
    return found


@guard
def check_lengths(config: Mapping[str, Any], where: Path | str, lengths: Mapping[str, int], answer: int = 0) -> None:
    """Raise `BadInput` with the first of `lengths` (config key → tokens) for which the base has no positions.

    `answer`, evaluate.max_new_tokens, must leave positions for a prompt.
    """
    most = positions(config, where)
    where = f"max_position_embeddings in {where}"
    for key, length in lengths.items():
        if length > most:
            raise BadInput(
                f"{key} is {length}, but the base has {most} positions ({where}): set it to at most {most}, or "
                "take another base"
            )
    if answer >= most:
        raise BadInput(
            f"evaluate.max_new_tokens is {answer}, but the base has {most} positions ({where}) for prompt and answer: "
            "lower it"
        )


def _size(config: Mapping[str, Any], key: str, where: Path | str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    greatest = GREATEST.get(key, GREATEST_SIZE)
    if type(value) is not int or not 1 <= value <= greatest:
        reason = f"{key} is {shown(value)}; a Llama-shaped base's is a whole number from 1 to {greatest}"
        raise BadInput(f"{where}: {reason}: {MEND}")
    return value


def _flag(config: Mapping[str, Any], key: str, where: Path) -> bool:
    value = config.get(key)
    if value is not None and type(value) is not bool:
        raise BadInput(f"{where}: {key} is {shown(value)}; it must be true or false: {MEND}")
    return bool(value)
