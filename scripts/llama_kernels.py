"""The element-wise parts of a Llama layer, forward and backward: in Triton on a GPU, in plain PyTorch elsewhere.

Each works on tokens as rows. Sums run in float32 (in float64 if the tokens are), as transformers' Llama does.
"""

import torch

Tensor = torch.Tensor
FP8 = torch.float8_e4m3fn
GREATEST = torch.finfo(FP8).max


def norm(x: Tensor, weight: Tensor, epsilon: float, room: int) -> tuple[Tensor, Tensor]:
    """Return RMSNorm of x (tokens, size) in a buffer with `room` more columns of zeros, and 1/rms of each token."""
    out = x.new_empty(x.shape[0], x.shape[1] + room)
    if x.is_cuda:
        import llama_triton

        return out, llama_triton.norm(x, weight, epsilon, out)
    wide = _wide(x)
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    out[:, : x.shape[1]] = weight * (wide * scale).to(x.dtype)
    out[:, x.shape[1] :] = 0
    return out, scale.squeeze(1)


def norm_backward(dy: Tensor, x: Tensor, weight: Tensor, scale: Tensor, residual: Tensor) -> Tensor:
    """Return `residual` + the gradient of x; dy may have more columns than x, which are not looked at."""
    if x.is_cuda:
        import llama_triton

        return llama_triton.norm_backward(dy, x, weight, scale, residual)
    scaled = _wide(x) * scale[:, None]
    weighted = _wide(dy[:, : x.shape[1]]) * weight
    dx = scale[:, None] * (weighted - scaled * (weighted * scaled).mean(-1, keepdim=True))
    return (_wide(residual) + dx).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    """Turn the first `heads` heads of each token in x (tokens, all heads · size) by its place, in x itself.

    cos and sin are (tokens, size), their halves alike; -sin turns back.
    """
    if x.is_cuda:
        import llama_triton

        llama_triton.rotate(x, cos, sin, heads)
        return
    turned = x[:, : heads * cos.shape[1]].view(x.shape[0], heads, -1)
    left, right = turned.chunk(2, -1)
    whole = turned * cos[:, None] + torch.cat((-right, left), -1) * sin[:, None]
    turned.copy_(whole)


def swiglu(gate_up: Tensor) -> Tensor:
    """Return silu(gate) · up of (tokens, gate and up side by side)."""
    if gate_up.is_cuda:
        import llama_triton

        return llama_triton.swiglu(gate_up)
    gate, up = gate_up.chunk(2, -1)
    return torch.nn.functional.silu(gate) * up


def swiglu_backward(dh: Tensor, gate_up: Tensor) -> Tensor:
    """Put the gradient of gate and up into `gate_up` itself, and return silu(gate) · up once more."""
    if gate_up.is_cuda:
        import llama_triton

        return llama_triton.swiglu_backward(dh, gate_up)
    gate, up = (_wide(part) for part in gate_up.chunk(2, -1))
    bent, wide = torch.sigmoid(gate), _wide(dh)
    h = (gate * bent * up).to(dh.dtype)
    gate_up.copy_(torch.cat((wide * up * bent * (1 + gate * (1 - bent)), wide * gate * bent), -1))
    return h


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x in FP8, each row divided by a scale of its own, and the scales (rows, 1), in float32."""
    if x.is_cuda:
        import llama_triton

        return llama_triton.quantize(x)
    scale = x.abs().amax(1, keepdim=True).float().clamp_min(torch.finfo(torch.float32).tiny) / GREATEST
    return (x.float() / scale).to(FP8), scale


def product8(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Return x times a quantized weight (outputs, inputs), transposed, in x's own type; x is quantized first."""
    rounded, own = quantize(x)
    if x.is_cuda:
        return torch._scaled_mm(rounded, weight.T, own, scale.T, out_dtype=x.dtype, use_fast_accum=True)
    return ((rounded.float() * own) @ (weight.float() * scale).T).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
