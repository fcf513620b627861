"""The element-wise parts of a Llama layer, forward and backward: in Triton on a GPU, in plain PyTorch elsewhere.

Each works on tokens as rows. Sums run in float32 (in float64 if the tokens are), as transformers' Llama does. Where a
part is followed by a product in FP8 it gives its result rounded too: that saves a pass over it.
"""

import torch

Tensor = torch.Tensor
Rounded = tuple[Tensor, Tensor]  # rows in FP8, and what each was divided by (rows, 1), in float32
FP8 = torch.float8_e4m3fn
GREATEST = torch.finfo(FP8).max


def norm(x: Tensor, weight: Tensor, epsilon: float, room: int, fp8: bool) -> tuple[Tensor, Tensor, Rounded | None]:
    """Return RMSNorm of x (tokens, size) in a buffer with `room` more columns of zeros, 1/rms of each token, and it
    rounded."""
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
    """Return `residual` + the gradient of x, and that rounded; dy may have more columns than x."""
    if x.is_cuda:
        from adapter_build.kernels import triton_norm

        return triton_norm.norm_backward(dy, x, weight, scale, residual, fp8)
    scaled = _wide(x) * scale[:, None]
    weighted = _wide(dy[:, : x.shape[1]]) * weight
    dx = scale[:, None] * (weighted - scaled * (weighted * scaled).mean(-1, keepdim=True))
    dx = (_wide(residual) + dx).to(x.dtype)
    return dx, quantize(dx) if fp8 else None


def rotate(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    """Turn the first `heads` heads of each token in x (tokens, all heads · size) by its place, in x itself.

    cos and sin are (tokens, size), their halves alike.
    """
    if x.is_cuda:
        from adapter_build.kernels import triton_rotate

        triton_rotate.rotate(x, cos, sin, heads)
        return
    _turn(x[:, : heads * cos.shape[1]], cos, sin)


def rotate_back(
    dq: Tensor, dk: Tensor, dv: Tensor, cos: Tensor, sin: Tensor, fp8: bool
) -> tuple[Tensor, Rounded | None]:
    """Return the gradients (tokens, heads, size) of q, k and v side by side, q's and k's turned back, and rounded."""
    if dq.is_cuda:
        from adapter_build.kernels import triton_rotate

        return triton_rotate.rotate_back(dq, dk, dv, cos, sin, fp8)
    whole = torch.cat([part.flatten(1) for part in (dq, dk, dv)], 1)
    _turn(whole[:, : dq[0].numel() + dk[0].numel()], cos, -sin)
    return whole, quantize(whole) if fp8 else None


def swiglu(gate_up: Tensor, room: int, lora: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return silu(gate) · up of (tokens, gate and up side by side), with `room` more columns of zeros.

    `lora` is z and B, whose product belongs to gate and up and is not in them yet.
    """
    if gate_up.is_cuda:
        from adapter_build.kernels import triton_swiglu

        return triton_swiglu.swiglu(gate_up, room, lora)
    gate, up = _with(gate_up, lora).chunk(2, -1)
    return torch.nn.functional.pad(torch.nn.functional.silu(gate) * up, (0, room))


def swiglu_backward(
    dh: Tensor, gate_up: Tensor, lora: tuple[Tensor, Tensor] | None, down: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Put the gradient of gate and up into `gate_up` itself, and return silu(gate) · up once more.

    `down` is dz and A, whose product belongs to dh and is not in it yet; dh may have more columns.
    """
    if gate_up.is_cuda:
        from adapter_build.kernels import triton_swiglu

        return triton_swiglu.swiglu_backward(dh, gate_up, lora, down)
    wide = _wide(dh[:, : gate_up.shape[1] // 2])
    if down:
        wide = wide + _wide(down[0] @ down[1])
    gate, up = (_wide(part) for part in _with(gate_up, lora).chunk(2, -1))
    bent = torch.sigmoid(gate)
    h = (gate * bent * up).to(dh.dtype)
    gate_up.copy_(torch.cat((wide * up * bent * (1 + gate * (1 - bent)), wide * gate * bent), -1))
    return h


def finish(y: Tensor, residual: Tensor, z: Tensor, b: Tensor) -> Tensor:
    """Return y + residual + z · B, transposed, in y itself."""
    if y.is_cuda:
        from adapter_build.kernels import triton_swiglu

        return triton_swiglu.finish(y, residual, z, b)
    return y.add_(residual).addmm_(z, b.T)


def quantize(x: Tensor) -> Rounded:
    """Return x rounded: each row's greatest value becomes FP8's greatest."""
    if x.is_cuda:
        from adapter_build.kernels import triton_norm

        return triton_norm.quantize(x)
    return quantize_anywhere(x)


def quantize_anywhere(x: Tensor) -> Rounded:
    """Return `quantize`'s result in plain PyTorch, which also knows FP8 on GPUs that do not compute with it."""
    scale = x.abs().amax(1, keepdim=True).float().clamp_min(torch.finfo(torch.float32).tiny) / GREATEST
    return (x.float() / scale).to(FP8), scale


def product8(x: Rounded, weight: Rounded, dtype: torch.dtype) -> Tensor:
    """Return x times a weight (outputs, inputs), transposed, both rounded."""
    if x[0].is_cuda:
        return torch._scaled_mm(x[0], weight[0].T, x[1], weight[1].T, out_dtype=dtype, use_fast_accum=True)
    return ((x[0].float() * x[1]) @ (weight[0].float() * weight[1]).T).to(dtype)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    turned = x.view(x.shape[0], -1, cos.shape[1])
    left, right = turned.chunk(2, -1)
    turned.copy_(turned * cos[:, None] + torch.cat((-right, left), -1) * sin[:, None])


def _with(gate_up: Tensor, lora: tuple[Tensor, Tensor] | None) -> Tensor:
    return torch.addmm(gate_up, lora[0], lora[1].T) if lora else gate_up


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
