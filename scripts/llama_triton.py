"""llama_kernels' functions for NVIDIA GPUs. The well-kept kernels do the same without room for LoRA's columns beside a
normed token and without the residual's gradient in the norm's: each would be one more pass over memory."""

import torch
import triton
import triton.language as tl

Tensor = torch.Tensor
WARPS = 8
BLOCK = 2048  # columns that a program of the element-wise kernels takes


def norm(x: Tensor, weight: Tensor, epsilon: float, out: Tensor) -> Tensor:
    """Write RMSNorm of x and then zeros into `out`'s rows; return 1/rms of each row."""
    rows, size = x.shape
    scale = torch.empty(rows, dtype=torch.float32, device=x.device)
    width = triton.next_power_of_2(size)
    room = triton.next_power_of_2(max(out.shape[1] - size, 1))
    _norm[(rows,)](x, weight, out, scale, size, out.shape[1], epsilon, width, room, num_warps=WARPS)
    return scale


def norm_backward(dy: Tensor, x: Tensor, weight: Tensor, scale: Tensor, residual: Tensor) -> Tensor:
    """Return `residual` + the gradient of x."""
    rows, size = x.shape
    dx = torch.empty_like(x)
    width = triton.next_power_of_2(size)
    _norm_backward[(rows,)](dy, x, weight, scale, residual, dx, size, dy.stride(0), width, num_warps=WARPS)
    return dx


def rotate(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    """Turn the first `heads` heads of each row in place."""
    half = cos.shape[1] // 2
    _rotate[(x.shape[0],)](x, cos, sin, heads, x.stride(0), cos.stride(0), half, triton.next_power_of_2(heads))


def swiglu(gate_up: Tensor) -> Tensor:
    """Return silu(gate) · up."""
    rows, size = gate_up.shape[0], gate_up.shape[1] // 2
    h = torch.empty(rows, size, dtype=gate_up.dtype, device=gate_up.device)
    _swiglu[(rows, triton.cdiv(size, BLOCK))](gate_up, h, size, BLOCK, num_warps=WARPS)
    return h


def swiglu_backward(dh: Tensor, gate_up: Tensor) -> Tensor:
    """Replace gate and up by their gradients; return silu(gate) · up."""
    rows, size = dh.shape
    h = torch.empty_like(dh)
    _swiglu_backward[(rows, triton.cdiv(size, BLOCK))](dh, gate_up, h, size, BLOCK, num_warps=WARPS)
    return h


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x in FP8 and its rows' scales."""
    rows, size = x.shape
    out = torch.empty(rows, size, dtype=torch.float8_e4m3fn, device=x.device)
    scale = torch.empty(rows, 1, dtype=torch.float32, device=x.device)
    width = triton.next_power_of_2(size)
    _quantize[(rows,)](x, out, scale, size, x.stride(0), width, num_warps=16 if width > 8192 else WARPS)
    return out, scale


@triton.jit
def _norm(x, weight, out, scale, size, stride, epsilon, WIDTH: tl.constexpr, ROOM: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < size
    values = tl.load(x + row * size + at, inside, 0.0).to(tl.float32)
    found = 1 / tl.sqrt(tl.sum(values * values) / size + epsilon)
    tl.store(scale + row, found)
    weights = tl.load(weight + at, inside, 0.0)
    tl.store(out + row * stride + at, weights * (values * found).to(weights.dtype), inside)
    tail = size + tl.arange(0, ROOM)
    tl.store(out + row * stride + tail, tl.zeros((ROOM,), out.dtype.element_ty), tail < stride)


@triton.jit
def _norm_backward(dy, x, weight, scale, residual, dx, size, stride, WIDTH: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < size
    found = tl.load(scale + row)
    scaled = tl.load(x + row * size + at, inside, 0.0).to(tl.float32) * found
    weighted = tl.load(dy + row * stride + at, inside, 0.0).to(tl.float32) * tl.load(weight + at, inside, 0.0)
    change = found * (weighted - scaled * (tl.sum(weighted * scaled) / size))
    kept = tl.load(residual + row * size + at, inside, 0.0).to(tl.float32)
    tl.store(dx + row * size + at, (kept + change).to(dx.dtype.element_ty), inside)


@triton.jit
def _rotate(x, cos, sin, heads, stride, turn, HALF: tl.constexpr, HEADS: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, HALF)[None, :]
    head = tl.arange(0, HEADS)[:, None]
    inside = (head < heads) & (at < HALF)
    c = tl.load(cos + row * turn + at).to(tl.float32)
    s = tl.load(sin + row * turn + at).to(tl.float32)
    place = x + row * stride + head * 2 * HALF + at
    left = tl.load(place, inside, 0.0).to(tl.float32)
    right = tl.load(place + HALF, inside, 0.0).to(tl.float32)
    tl.store(place, (left * c - right * s).to(x.dtype.element_ty), inside)
    tl.store(place + HALF, (right * c + left * s).to(x.dtype.element_ty), inside)


@triton.jit
def _swiglu(gate_up, h, size, BLOCK: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    gate = tl.load(gate_up + row * 2 * size + at, inside, 0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * size + size + at, inside, 0.0)
    tl.store(h + row * size + at, (gate * tl.sigmoid(gate)).to(up.dtype) * up, inside)


@triton.jit
def _swiglu_backward(dh, gate_up, h, size, BLOCK: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    place = gate_up + row * 2 * size + at
    gate = tl.load(place, inside, 0.0).to(tl.float32)
    up = tl.load(place + size, inside, 0.0).to(tl.float32)
    change = tl.load(dh + row * size + at, inside, 0.0).to(tl.float32)
    bent = tl.sigmoid(gate)
    kind = h.dtype.element_ty
    tl.store(h + row * size + at, ((gate * bent).to(kind) * up.to(kind)), inside)
    tl.store(place, (change * up * bent * (1 + gate * (1 - bent))).to(kind), inside)
    tl.store(place + size, (change * gate * bent).to(kind), inside)


@triton.jit
def _quantize(x, out, scale, size, stride, WIDTH: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < size
    values = tl.load(x + row * stride + at, inside, 0.0).to(tl.float32)
    found = tl.maximum(tl.max(tl.abs(values)), 1e-30) / 448.0
    tl.store(scale + row, found)
    tl.store(out + row * size + at, (values / found).to(tl.float8e4nv), inside)
