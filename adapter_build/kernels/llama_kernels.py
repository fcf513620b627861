"""Element-wise parts of a Llama layer, forward and backward: in Triton on a GPU, in plain PyTorch elsewhere.

Tokens are rows. Sums run in float32 (in float64 for float64 tokens), as in transformers' LlamaRMSNorm and LlamaMLP.
A part that precedes a product in FP8 returns its result in FP8 too, which saves one pass over memory.
"""

import torch
from torch import Tensor

Rounded = tuple[Tensor, Tensor]  # rows in FP8 (rows, size), and the scale that divided each (rows, 1), float32
FP8 = torch.float8_e4m3fn
GREATEST = torch.finfo(FP8).max


def norm(x: Tensor, weight: Tensor, epsilon: float, room: int, fp8: bool) -> tuple[Tensor, Tensor, Rounded | None]:
    """Return RMSNorm of x (Zhang and Sennrich, 2019), 1/rms of each token, and the norm in FP8 if `fp8`.

    x is (tokens, size), weight (size); the norm is (tokens, size + room), `room` columns of zeros at its end; 1/rms is
    (tokens), float32.
    """
    if x.is_cuda:
        from adapter_build.kernels import triton_norm

        return triton_norm.norm(x, weight, epsilon, room, fp8)
    out = x.new_zeros(x.shape[0], x.shape[1] + room)
    wide = _wide(x)
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    out[:, : x.shape[1]] = weight * (wide * scale).to(x.dtype)
    return out, scale.squeeze(1), quantize(out[:, : x.shape[1]]) if fp8 else None


def norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor, scale: Tensor, residual: Tensor, fp8: bool
) -> tuple[Tensor, Rounded | None]:
    """Return `residual` + x's gradient (tokens, size), in x's dtype, and that in FP8 if `fp8`.

    dy may have more columns than x, which are not read; `scale` is 1/rms of each token, as `norm` returns it.
    """
    if x.is_cuda:
        from adapter_build.kernels import triton_norm

        return triton_norm.norm_backward(dy, x, weight, scale, residual, fp8)
    scaled = _wide(x) * scale[:, None]
    weighted = _wide(dy[:, : x.shape[1]]) * weight
    dx = scale[:, None] * (weighted - scaled * (weighted * scaled).mean(-1, keepdim=True))
    dx = (_wide(residual) + dx).to(x.dtype)
    return dx, quantize(dx) if fp8 else None


def rotate(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    """Rotate the first `heads` heads of each token in x (tokens, all heads · head size) by its position, in place.

    cos and sin are (tokens, head size), their halves alike (Su et al., RoFormer, 2021; transformers' rotate_half).
    """
    if x.is_cuda:
        from adapter_build.kernels import triton_rotate

        triton_rotate.rotate(x, cos, sin, heads)
        return
    _rotate_in_place(x[:, : heads * cos.shape[1]], cos, sin)


def rotate_back(
    dq: Tensor, dk: Tensor, dv: Tensor, cos: Tensor, sin: Tensor, fp8: bool
) -> tuple[Tensor, Rounded | None]:
    """Return the gradients of q, k and v side by side (tokens, all heads · head size), and that in FP8 if `fp8`.

    dq, dk and dv are (tokens, heads, head size); dq and dk are rotated back.
    """
    if dq.is_cuda:
        from adapter_build.kernels import triton_rotate

        return triton_rotate.rotate_back(dq, dk, dv, cos, sin, fp8)
    whole = torch.cat([part.flatten(1) for part in (dq, dk, dv)], 1)
    _rotate_in_place(whole[:, : dq[0].numel() + dk[0].numel()], cos, -sin)
    return whole, quantize(whole) if fp8 else None


def swiglu(gate_up: Tensor, room: int, lora: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return h = silu(gate) · up (tokens, inner + room), `room` columns of zeros at its end.

    `gate_up` is (tokens, 2 · inner), gate and up side by side; `lora` is z (tokens, ranks) and B (2 · inner, ranks),
    whose product belongs to gate and up and is not in them yet.
    """
    if gate_up.is_cuda:
        from adapter_build.kernels import triton_swiglu

        return triton_swiglu.swiglu(gate_up, room, lora)
    gate, up = _with(gate_up, lora).chunk(2, -1)
    return torch.nn.functional.pad(torch.nn.functional.silu(gate) * up, (0, room))


def swiglu_backward(
    dh: Tensor, gate_up: Tensor, lora: tuple[Tensor, Tensor] | None, down: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Overwrite `gate_up` with the gradient of gate and up, and return h = silu(gate) · up (tokens, inner) once more.

    silu'(g) = s · (1 + g · (1 - s)) with s = sigmoid(g). `lora` is as in `swiglu`; `down` is dz (tokens, ranks) and
    A (ranks, inner), whose product belongs to dh and is not in it yet; dh may have more columns than inner.
    """
    if gate_up.is_cuda:
        from adapter_build.kernels import triton_swiglu

        return triton_swiglu.swiglu_backward(dh, gate_up, lora, down)
    wide = _wide(dh[:, : gate_up.shape[1] // 2])
    if down:
        wide = wide + _wide(down[0] @ down[1])
    gate, up = (_wide(part) for part in _with(gate_up, lora).chunk(2, -1))
    sigmoid = torch.sigmoid(gate)
    h = (gate * sigmoid * up).to(dh.dtype)
    gate_up.copy_(torch.cat((wide * up * sigmoid * (1 + gate * (1 - sigmoid)), wide * gate * sigmoid), -1))
    return h


def finish(y: Tensor, residual: Tensor, z: Tensor, b: Tensor) -> Tensor:
    """Return y + residual + z · Bᵀ in y itself: y, residual (tokens, size), z (tokens, ranks), B (size, ranks)."""
    if y.is_cuda:
        from adapter_build.kernels import triton_swiglu

        return triton_swiglu.finish(y, residual, z, b)
    return y.add_(residual).addmm_(z, b.T)


def quantize(x: Tensor) -> Rounded:
    """Return x (rows, size) in FP8: each row's largest magnitude becomes FP8's largest value."""
    if x.is_cuda:
        from adapter_build.kernels import triton_norm

        return triton_norm.quantize(x)
    return quantize_anywhere(x)


def quantize_anywhere(x: Tensor) -> Rounded:
    """Return `quantize`'s result in plain PyTorch, which converts to FP8 on GPUs without FP8 arithmetic too."""
    scale = x.abs().amax(1, keepdim=True).float().clamp_min(torch.finfo(torch.float32).tiny) / GREATEST
    return (x.float() / scale).to(FP8), scale


def product8(x: Rounded, weight: Rounded, dtype: torch.dtype) -> Tensor:
    """Return x · Wᵀ (rows, outputs) in `dtype`, for x (rows, inputs) and W (outputs, inputs), both in FP8."""
    if x[0].is_cuda:
        return torch._scaled_mm(x[0], weight[0].T, x[1], weight[1].T, out_dtype=dtype, use_fast_accum=True)
    return ((x[0].float() * x[1]) @ (weight[0].float() * weight[1]).T).to(dtype)


def _rotate_in_place(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    heads = x.view(x.shape[0], -1, cos.shape[1])
    left, right = heads.chunk(2, -1)
    heads.copy_(heads * cos[:, None] + torch.cat((-right, left), -1) * sin[:, None])


def _with(gate_up: Tensor, lora: tuple[Tensor, Tensor] | None) -> Tensor:
    return torch.addmm(gate_up, lora[0], lora[1].T) if lora else gate_up


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
