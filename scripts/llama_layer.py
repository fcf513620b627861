"""A frozen Llama layer with LoRA as one function: what memory holds is passed over as seldom as it can be.

The linear layers that read the same tokens (q, k and v; gate and up) are one product, and so are their LoRA products.
Their inputs come from a norm, which leaves columns free beside each token: A's product goes there, B stands beside the
frozen weight, and one matrix product gives both, forward and backward. Gradients are those of the plain layers within
rounding; LoRA's dropout must be 0.
"""

from collections.abc import Sequence
from typing import Any

import torch

import llama_kernels
from packed_attention import Documents, attend

Tensor = torch.Tensor
COLUMNS = 64  # LoRA's columns beside a frozen weight are a multiple of this: the products' tiles stay whole


class Frozen:
    """A frozen weight (outputs, inputs)."""

    def __init__(self, whole: Tensor) -> None:
        self.whole, self.outputs = whole, len(whole)

    def product(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return x times the weight, transposed, plus the residual."""
        return x @ self.whole.T if residual is None else torch.addmm(residual, x, self.whole.T)

    def gradient(self, dy: Tensor) -> Tensor:
        """Return the gradient of x."""
        return dy @ self.whole


class Frozen8:
    """A frozen weight in FP8 (e4m3), once by rows and once by columns; what it is multiplied with is rounded by rows.

    Each row has a scale of its own, by which its greatest value becomes FP8's greatest.
    """

    def __init__(self, whole: Tensor) -> None:
        self.outputs = len(whole)
        self._rows, self._columns = llama_kernels.quantize(whole), llama_kernels.quantize(whole.T.contiguous())

    def product(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return x times the weight, transposed, plus the residual."""
        y = llama_kernels.product8(x, *self._rows)
        return y if residual is None else y.add_(residual)

    def gradient(self, dy: Tensor) -> Tensor:
        """Return the gradient of x."""
        return llama_kernels.product8(dy, *self._columns)


class Projection:
    """Linear layers that read the same tokens, as one.

    `beside` puts B beside the frozen weight; `room` is then the columns that the input must have free. In FP8 the
    frozen weight alone is rounded, and what it is multiplied with; B has a product of its own.
    """

    def __init__(self, linears: Sequence[torch.nn.Linear], beside: bool, fp8: bool) -> None:
        self.inputs = linears[0].in_features
        self.adapted = [linear for linear in linears if hasattr(linear, "lora_a")]
        self.rank = sum(linear.dim for linear in self.adapted)
        self.room = -(-self.rank // COLUMNS) * COLUMNS if beside and not fp8 else 0
        frozen = [linear.weight.detach() for linear in linears]
        whole = frozen[0].new_zeros(sum(len(weight) for weight in frozen), self.inputs + self.room)
        self.outputs: list[slice] = []
        begin = 0
        for linear, weight in zip(linears, frozen, strict=True):
            rows = whole[begin : begin + len(weight), : self.inputs]
            rows.copy_(weight)
            linear.weight.data = rows.new_empty(0) if fp8 else rows  # in memory once
            if linear in self.adapted:
                self.outputs.append(slice(begin, begin + len(weight)))
            begin += len(weight)
        self.weight = Frozen8(whole) if fp8 else Frozen(whole)
        self.a = whole.new_zeros(self.rank, self.inputs)
        beside_frozen = whole[:, self.inputs : self.inputs + self.rank]
        self.b = beside_frozen if self.room else whole.new_zeros(len(whole), self.rank)

    def parameters(self) -> list[Tensor]:
        """Return A and B of each adapted linear layer, in turn."""
        return [weight for linear in self.adapted for weight in (linear.lora_a.weight, linear.lora_b.weight)]

    def refresh(self) -> None:
        """Take up A and B as they are now."""
        for linear, rows, columns in self._places():
            self.a[columns] = linear.lora_a.weight.detach().to(self.a.dtype)
            self.b[rows, columns] = (linear.lora_b.weight.detach() * linear.scale).to(self.b.dtype)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the layers' outputs (plus the residual) side by side, and A's product."""
        if self.room:
            z = x[:, self.inputs : self.inputs + self.rank]
            z.copy_(x[:, : self.inputs] @ self.a.T)
            return self.weight.product(x), z
        y = self.weight.product(x, residual)
        if not self.rank:
            return y, x[:, :0]
        z = x @ self.a.T
        return y.addmm_(z, self.b.T), z

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of the input (with its free columns) and of A's product."""
        dx = self.weight.gradient(dy)
        if not self.rank:
            return dx, dy[:, :0]
        dz = dx[:, self.inputs : self.inputs + self.rank] if self.room else dy @ self.b
        dx[:, : self.inputs].addmm_(dz, self.a)
        return dx, dz

    def gradients(self, x: Tensor, z: Tensor, dy: Tensor, dz: Tensor) -> list[Tensor]:
        """Return the gradients of `parameters()`."""
        if not self.rank:
            return []
        a, b = dz.T @ x[:, : self.inputs], dy.T @ z
        found = []
        for linear, rows, columns in self._places():
            found += [a[columns].to(linear.lora_a.weight.dtype)]
            found += [b[rows, columns].to(linear.lora_b.weight.dtype) * linear.scale]
        return found

    def _places(self) -> list[tuple[Any, slice, slice]]:
        """Return each adapted layer, its rows among the outputs, and its columns among the ranks."""
        begins = [sum(linear.dim for linear in self.adapted[:number]) for number in range(len(self.adapted))]
        columns = [slice(begin, begin + linear.dim) for begin, linear in zip(begins, self.adapted, strict=True)]
        return list(zip(self.adapted, self.outputs, columns, strict=True))


class FusedLayer:
    """One decoder layer of transformers' Llama, with NeMo's LoRA in its linear layers."""

    def __init__(self, layer: Any, fp8: bool = False) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norms = [layer.input_layernorm, layer.post_attention_layernorm]
        self.head, self.scale = attention.head_dim, attention.scaling
        self.qkv = Projection([attention.q_proj, attention.k_proj, attention.v_proj], beside=True, fp8=fp8)
        self.o = Projection([attention.o_proj], beside=False, fp8=fp8)
        self.gate_up = Projection([mlp.gate_proj, mlp.up_proj], beside=True, fp8=fp8)
        self.down = Projection([mlp.down_proj], beside=False, fp8=fp8)
        self.widths = [linear.out_features for linear in (attention.q_proj, attention.k_proj, attention.v_proj)]
        self.turned = sum(self.widths[:2]) // self.head  # heads of q and k

    def __call__(self, x: Tensor, documents: Documents, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the layer's output for a pack's tokens (tokens, size); cos and sin are (tokens, head's size)."""
        parameters = [weight for projection in self._projections() for weight in projection.parameters()]
        return _Layer.apply(self, documents, cos, sin, x, *parameters)

    def refresh(self) -> None:
        """Take up the adapter's weights as they are now: after an optimizer's step, and before the first."""
        for projection in self._projections():
            projection.refresh()

    def _projections(self) -> tuple[Projection, ...]:
        return self.qkv, self.o, self.gate_up, self.down

    def norm(self, number: int, x: Tensor, room: int) -> tuple[Tensor, Tensor]:
        """Return the layer's first or second norm of x."""
        return llama_kernels.norm(x, self.norms[number].weight, self.norms[number].variance_epsilon, room)

    def attend(self, qkv: Tensor, documents: Documents) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return q, k and v as leaves of a graph, and the attention's output at its end."""
        parts = qkv.split(self.widths, 1)
        leaves = tuple(part.unflatten(1, (-1, self.head)).detach().requires_grad_() for part in parts)
        with torch.enable_grad():
            return leaves, attend(*leaves, documents, self.scale)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layer: FusedLayer, documents: Documents, cos: Tensor, sin: Tensor, x: Tensor, *_: Tensor
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            first, first_scale = layer.norm(0, x, layer.qkv.room)
            qkv, z_qkv = layer.qkv.forward(first)
            llama_kernels.rotate(qkv, cos, sin, layer.turned)
            leaves, seen = layer.attend(qkv, documents)
            flat = seen.detach().flatten(1)
            middle, z_o = layer.o.forward(flat, x)
            second, second_scale = layer.norm(1, middle, layer.gate_up.room)
            gate_up, z_gate_up = layer.gate_up.forward(second)
            out, z_down = layer.down.forward(llama_kernels.swiglu(gate_up), middle)
        ctx.layer, ctx.attention = layer, (leaves, seen)
        ctx.save_for_backward(
            x, cos, sin, first, first_scale, z_qkv, flat, z_o, middle, second, second_scale, z_gate_up, gate_up, z_down
        )
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        layer: FusedLayer = ctx.layer
        x, cos, sin, first, first_scale, z_qkv, flat, z_o, middle, second, second_scale, z_gate_up, gate_up, z_down = (
            ctx.saved_tensors
        )
        dh, dz = layer.down.backward(dout)
        h = llama_kernels.swiglu_backward(dh, gate_up)  # which now holds its own gradient
        of_down = layer.down.gradients(h, z_down, dout, dz)
        dsecond, dz = layer.gate_up.backward(gate_up)
        of_gate_up = layer.gate_up.gradients(second, z_gate_up, gate_up, dz)
        dmiddle = llama_kernels.norm_backward(dsecond, middle, layer.norms[1].weight, second_scale, dout)
        dflat, dz = layer.o.backward(dmiddle)
        of_o = layer.o.gradients(flat, z_o, dmiddle, dz)
        leaves, seen = ctx.attention
        ctx.attention = None
        dqkv = torch.cat([part.flatten(1) for part in torch.autograd.grad(seen, leaves, dflat.view_as(seen))], 1)
        llama_kernels.rotate(dqkv, cos, -sin, layer.turned)
        dx = None
        dfirst, dz = layer.qkv.backward(dqkv)
        of_qkv = layer.qkv.gradients(first, z_qkv, dqkv, dz)
        if ctx.needs_input_grad[4]:
            dx = llama_kernels.norm_backward(dfirst, x, layer.norms[0].weight, first_scale, dmiddle)
        return None, None, None, None, dx, *of_qkv, *of_o, *of_gate_up, *of_down
