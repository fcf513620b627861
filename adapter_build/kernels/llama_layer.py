"""A frozen Llama layer with LoRA as one autograd function: its tensors pass through memory as seldom as possible.

Autograd over the plain layers would save each operation's input, and read and write a whole activation for each. But
the base is frozen: a linear layer y = x·Wᵀ + z·Bᵀ with z = x·(s·A)ᵀ (Hu et al., LoRA, 2021; s = alpha / rank) needs no
gradient of W, so that backward is only

    dz = dy · B          dx = dy · W + dz · s·A          dA = s · dzᵀ · x          dB = dyᵀ · z

The linear layers that read the same tokens (q, k and v; gate and up) are one product, and so are their LoRA products.
Their input comes from a norm, which leaves columns free beside each token: z goes there, B stands beside W, and one
matrix product gives both, forward and backward:

    [ x | z ] · [ W | B ]ᵀ = x·Wᵀ + z·Bᵀ                  dy · [ W | B ] = [ dx without A's part | dz ]

Forward, from left to right; what stands in brackets is saved for backward, which goes through the same line from right
to left and takes h from gate and up once more in the pass that gives their gradients:

    [x] ─ norm ─ [first, 1/rms] ─ qkv ─ rotate ─ [q, k, v] ─ attend ─ [flat] ─ o ─ + x ─ [middle] ─┐
                      [z]                                               [z]                        │
    out ─ + middle ─ down ─ h ─ swiglu ─ [gate, up] ─ gate_up ─ [second, 1/rms] ─ norm ──────────────┘
                      [z]                                [z]

The rotation is undone by turning with -sin; attention's own backward is PyTorch's. With `recompute` x alone is saved,
and backward begins by computing the line again, but for the last product. Gradients are those of the plain layers
within rounding; LoRA's dropout must be 0.
"""

from typing import Any

import torch
from torch import Tensor

from adapter_build.core.faults import BadInput
from adapter_build.kernels import llama_kernels
from adapter_build.kernels.determinism import attention_kernels
from adapter_build.kernels.frozen_weight import Frozen, Frozen8, Held8
from adapter_build.kernels.packed_attention import Documents, attend
from adapter_build.kernels.projection import Projection

WEIGHTS: dict[tuple[str, str], type[Frozen | Frozen8]] = {
    ("full", "full"): Frozen,
    ("full", "fp8"): Held8,
    ("fp8", "full"): Frozen8,
}  # by products and weights


class FusedLayer:
    """One decoder layer of transformers' Llama, with NeMo's LoRA in its linear layers.

    `products` and `weights` are a key of WEIGHTS; `fast` lets attention's gradients differ from run to run;
    `recompute` saves the layer's input alone, and computes all but the last product again for the gradients. Raises
    `BadInput` for a layer with biases, with an activation that is not SiLU, or of another class than Llama's.
    """

    def __init__(
        self, layer: Any, recompute: bool, products: str = "full", weights: str = "full", fast: bool = False
    ) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        biased = [name for name, _ in layer.named_parameters() if name.endswith(".bias")]
        if type(layer).__name__ != "LlamaDecoderLayer" or biased or not isinstance(mlp.act_fn, torch.nn.SiLU):
            raise BadInput(
                f"{type(layer).__name__}{f' with {biased[0]}' if biased else ''}: adapters.<name>.kernels needs "
                "Llama's layers, with SiLU and without biases: set it to plain"
            )
        self.norms = [layer.input_layernorm, layer.post_attention_layernorm]
        self.head, self.scale = attention.head_dim, attention.scaling
        weight = WEIGHTS[products, weights]
        self.recompute, self.fast, self.fp8 = recompute, fast, weight.rounds
        self.qkv = Projection([attention.q_proj, attention.k_proj, attention.v_proj], weight, beside=True)
        self.o = Projection([attention.o_proj], weight)
        self.gate_up = Projection([mlp.gate_proj, mlp.up_proj], weight, beside=True, leaves_b=True)
        self.down = Projection([mlp.down_proj], weight, beside=True, leaves_a=True)
        self.widths = [linear.out_features for linear in (attention.q_proj, attention.k_proj, attention.v_proj)]
        self.turned = sum(self.widths[:2]) // self.head  # heads of q and k

    def __call__(self, x: Tensor, documents: Documents, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the layer's output (tokens, hidden size) for a pack's tokens x of that shape, in x's dtype.

        cos and sin are (tokens, head size).
        """
        parameters = [weight for projection in self._projections() for weight in projection.parameters()]
        return _Layer.apply(self, documents, cos, sin, x, *parameters)

    def refresh(self) -> None:
        """Copy the adapter's weights as they are now: needed before the first pack and after each optimizer step."""
        for projection in self._projections():
            projection.refresh()

    def _projections(self) -> tuple[Projection, ...]:
        return self.qkv, self.o, self.gate_up, self.down

    def compute(self, x: Tensor, documents: Documents, cos: Tensor, sin: Tensor) -> tuple[Any, ...]:
        """Return all that the layer computes before its last product, in the order in which `backward` unpacks it."""
        first, first_scale, rounded = self.norm(0, x, self.qkv.room)
        qkv, z_qkv = self.qkv.forward(first, rounded=rounded)
        llama_kernels.rotate(qkv, cos, sin, self.turned)
        attention = self.attend(qkv, documents)
        flat = attention[1].detach().flatten(1)
        middle, z_o = self.o.forward(flat, x)
        second, second_scale, rounded = self.norm(1, middle, self.gate_up.room)
        gate_up, z_gate_up = self.gate_up.forward(second, rounded=rounded)
        h = llama_kernels.swiglu(gate_up, self.down.room, self.gate_up.left_b(z_gate_up))
        return first, first_scale, z_qkv, flat, z_o, second, second_scale, z_gate_up, gate_up, middle, h, attention

    def norm(self, number: int, x: Tensor, room: int) -> tuple[Tensor, Tensor, llama_kernels.Rounded | None]:
        """Return the layer's first (0) or second (1) norm of x, 1/rms of each token, and the norm in FP8 if `fp8`."""
        norm = self.norms[number]
        return llama_kernels.norm(x, norm.weight, norm.variance_epsilon, room, self.fp8)

    def norm_backward(
        self, number: int, dy: Tensor, x: Tensor, scale: Tensor, residual: Tensor
    ) -> tuple[Tensor, llama_kernels.Rounded | None]:
        """Return the gradient of the first (0) or second (1) norm's x plus the residual's, and that sum in FP8."""
        return llama_kernels.norm_backward(dy, x, self.norms[number].weight, scale, residual, self.fp8)

    def attend(self, qkv: Tensor, documents: Documents) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return q, k and v as leaves of an autograd graph of their own, and attention's output at its end."""
        parts = qkv.split(self.widths, 1)
        leaves = tuple(part.unflatten(1, (-1, self.head)).detach().requires_grad_() for part in parts)
        with torch.enable_grad(), attention_kernels(repeatable=not self.fast):
            q, k, v = leaves
            return leaves, attend(q, k, v, documents, self.scale)

    def attend_backward(self, leaves: tuple[Tensor, ...], out: Tensor, dflat: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of q, k and v (tokens, heads, head size)."""
        with attention_kernels(repeatable=not self.fast):
            return torch.autograd.grad(out, leaves, dflat.view_as(out))


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layer: FusedLayer, documents: Documents, cos: Tensor, sin: Tensor, x: Tensor, *_: Tensor
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            *saved, middle, h, attention = layer.compute(x, documents, cos, sin)
            out, z_down = layer.down.forward(h, middle)
        ctx.layer, ctx.documents = layer, documents
        ctx.attention = None if layer.recompute else attention
        # z_down may be a view of h, of which nothing else is needed.
        ctx.save_for_backward(x, cos, sin, *([] if layer.recompute else [*saved, middle, z_down.contiguous()]))
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        layer: FusedLayer = ctx.layer
        x, cos, sin, *saved = ctx.saved_tensors
        attention, ctx.attention = ctx.attention, None
        if layer.recompute:
            *saved, middle, h, attention = layer.compute(x, ctx.documents, cos, sin)
            saved += [middle, layer.down.a_product(h)]
        first, first_scale, z_qkv, flat, z_o, second, second_scale, z_gate_up, gate_up, middle, z_down = saved
        dh, dz = layer.down.backward(dout)
        h = llama_kernels.swiglu_backward(dh, gate_up, layer.gate_up.left_b(z_gate_up), layer.down.left_a(dz))
        of_down = layer.down.gradients(h, z_down, dout, dz)
        dsecond, dz = layer.gate_up.backward(gate_up)  # swiglu_backward wrote its gradient over it
        of_gate_up = layer.gate_up.gradients(second, z_gate_up, gate_up, dz)
        dmiddle, rounded = layer.norm_backward(1, dsecond, middle, second_scale, dout)
        dflat, dz = layer.o.backward(dmiddle, rounded)
        of_o = layer.o.gradients(flat, z_o, dmiddle, dz)
        leaves, seen = attention
        dq, dk, dv = layer.attend_backward(leaves, seen, dflat)
        dqkv, rounded = llama_kernels.rotate_back(dq, dk, dv, cos, sin, layer.fp8)
        dx = None
        dfirst, dz = layer.qkv.backward(dqkv, rounded)
        of_qkv = layer.qkv.gradients(first, z_qkv, dqkv, dz)
        if ctx.needs_input_grad[4]:
            dx = layer.norm_backward(0, dfirst, x, first_scale, dmiddle)[0]
        return None, None, None, None, dx, *of_qkv, *of_o, *of_gate_up, *of_down
