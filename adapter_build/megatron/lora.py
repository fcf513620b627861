"""A Megatron LoRA adapter as PEFT's matrices: fused layers taken apart, without changing a number.

Megatron's attention_qkv is one layer whose outputs lie group by group; mlp_fc1 is gate above up. One matrix A serves
all the parts of such a layer, so each part gets a copy of it. The rows of attention_qkv's B, of 4 query heads in 2
groups:

    q0 q1 k0 v0 │ q2 q3 k1 v1    each a block of head-size rows  →  q_proj: q0 q1 q2 q3, k_proj: k0 k1, v_proj: v0 v1
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from adapter_build.core.faults import BadInput
from adapter_build.megatron.programs import FUSED

ADAPTERS = {
    "lora_kqv_adapter": "attention_qkv",
    "lora_dense_attention_adapter": "attention_dense",
    "lora_hto4h_adapter": "mlp_fc1",
    "lora_4htoh_adapter": "mlp_fc2",
}
MATRICES = {"linear_in": "A", "linear_out": "B"}
BLOCKS = {"self_attention": "self_attn", "mlp": "mlp"}
KEY = re.compile(
    r"model\.(module\.)?decoder\.layers\.(?P<layer>\d+)\.(?P<block>self_attention|mlp)\.adapter_layer\."
    r"(?P<adapter>\w+)\.(?P<matrix>linear_in|linear_out)\.weight"
)
Tensors = dict[str, torch.Tensor]


def peft_matrices(weights: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Tensors:
    """Return PEFT's tensors by name, float32, A as (r, inputs) and B as (outputs, r).

    `config` is the adapter's model_config.yaml. Raises `BadInput` for a tensor that is not LoRA's, or whose shape
    is not the network's.
    """
    rank, found = config["peft"]["lora_tuning"]["adapter_dim"], {}
    for key, tensor in weights.items():
        match = KEY.fullmatch(key)
        if not match or match["adapter"] not in ADAPTERS or tensor.dim() != 2:
            raise BadInput(f"the adapter's tensor {key} does not belong to a LoRA adapter of NeMo 24.07: tune it again")
        layer, matrix = ADAPTERS[match["adapter"]], MATRICES[match["matrix"]]
        if tensor.shape[0 if matrix == "A" else 1] != rank:
            raise BadInput(
                f"the adapter's tensor {key} has shape {list(tensor.shape)}, not of rank {rank}: tune it again"
            )
        parts = [tensor] * len(FUSED[layer]) if matrix == "A" else _apart(layer, key, tensor, config)
        prefix = f"base_model.model.model.layers.{match['layer']}.{BLOCKS[match['block']]}"
        for module, part in zip(FUSED[layer], parts, strict=True):
            found[f"{prefix}.{module}.lora_{matrix}.weight"] = part.float().contiguous().clone()
    return found


def _apart(layer: str, key: str, tensor: torch.Tensor, config: Mapping[str, Any]) -> list[torch.Tensor]:
    """Return the matrices B of a fused layer's parts, in FUSED's order."""
    if layer == "mlp_fc1":
        return list(tensor.chunk(2))
    if layer != "attention_qkv":
        return [tensor]
    heads = config["num_attention_heads"]
    groups = config.get("num_query_groups") or heads
    head = config.get("kv_channels") or config["hidden_size"] // heads
    queries = heads // groups
    if tensor.shape[0] != (heads + 2 * groups) * head:
        raise BadInput(
            f"the adapter's tensor {key} has shape {list(tensor.shape)}, not of {heads} heads: tune it again"
        )
    by_group = tensor.reshape(groups, queries + 2, head, -1)
    parts = by_group[:, :queries], by_group[:, queries], by_group[:, queries + 1]
    return [part.reshape(-1, tensor.shape[1]) for part in parts]
