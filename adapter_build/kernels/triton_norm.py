"""llama_kernels' norms and their rounding to FP8, for NVIDIA GPUs.

The well-kept kernels do the same without room for LoRA's columns beside a normed token, without the residual's gradient
and without rounding: each would be one more pass over memory.
"""

# pyright: reportIndexIssue=false
# Triton has no types: what its decorator makes of a function, called with a grid in brackets.

import torch
import triton
import triton.language as tl
from torch import Tensor

Rounded = tuple[Tensor, Tensor]
WARPS = 8


def norm(x: Tensor, weight: Tensor, epsilon: float, room: int, fp8: bool) -> tuple[Tensor, Tensor, Rounded | None]:
    """RMSNorm, then zeros; 1/rms of each row; the same rounded."""
    rows, size = x.shape
    out = x.new_empty(rows, size + room)
    scale = torch.empty(rows, dtype=torch.float32, device=x.device)
    rounded = rounded_like(rows, size, x) if fp8 else None
    _norm[(rows,)](
        x, weight, out, scale, *(rounded or (out, scale)), size, size + room, epsilon,
        triton.next_power_of_2(size), triton.next_power_of_2(max(room, 1)), fp8, num_warps=WARPS,
    )  # fmt: skip
    return out, scale, rounded


def norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor, scale: Tensor, residual: Tensor, fp8: bool
) -> tuple[Tensor, Rounded | None]:
    """The residual + the gradient of x, and that rounded."""
    rows, size = x.shape
    dx = torch.empty_like(x)
    rounded = rounded_like(rows, size, x) if fp8 else None
    _norm_backward[(rows,)](
        dy, x, weight, scale, residual, dx, *(rounded or (dx, scale)), size, dy.stride(0),
        triton.next_power_of_2(size), fp8, num_warps=WARPS,
    )  # fmt: skip
    return dx, rounded


def quantize(x: Tensor) -> Rounded:
    """x in FP8 and its rows' scales."""
    rows, size = x.shape
    out, scale = rounded_like(rows, size, x)
    width = triton.next_power_of_2(size)
    _quantize[(rows,)](x, out, scale, size, x.stride(0), width, num_warps=16 if width > 8192 else WARPS)
    return out, scale


def rounded_like(rows: int, size: int, like: Tensor) -> Rounded:
    """Room for rows in FP8 and their scales, where `like` is."""
    return (
        torch.empty(rows, size, dtype=torch.float8_e4m3fn, device=like.device),
        torch.empty(rows, 1, dtype=torch.float32, device=like.device),
    )


@triton.jit
def _round(values, out, scale, row, at, size, inside) -> None:
    found = tl.maximum(tl.max(tl.abs(values)), 1e-30) / 448.0
    tl.store(scale + row, found)
    tl.store(out + row * size + at, (values / found).to(out.dtype.element_ty), inside)


@triton.jit
def _norm(
    x, weight, out, scale, fp8_out, fp8_scale, size, stride, epsilon,
    WIDTH: tl.constexpr, ROOM: tl.constexpr, FP8: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < size
    values = tl.load(x + row * size + at, inside, 0.0).to(tl.float32)
    found = 1 / tl.sqrt(tl.sum(values * values) / size + epsilon)
    tl.store(scale + row, found)
    weights = tl.load(weight + at, inside, 0.0)
    normed = weights * (values * found).to(weights.dtype)
    tl.store(out + row * stride + at, normed, inside)
    tail = size + tl.arange(0, ROOM)
    tl.store(out + row * stride + tail, tl.zeros((ROOM,), out.dtype.element_ty), tail < stride)
    if FP8:
        _round(normed.to(tl.float32), fp8_out, fp8_scale, row, at, size, inside)


@triton.jit
def _norm_backward(
    dy, x, weight, scale, residual, dx, fp8_out, fp8_scale, size, stride, WIDTH: tl.constexpr, FP8: tl.constexpr
) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < size
    found = tl.load(scale + row)
    scaled = tl.load(x + row * size + at, inside, 0.0).to(tl.float32) * found
    weighted = tl.load(dy + row * stride + at, inside, 0.0).to(tl.float32) * tl.load(weight + at, inside, 0.0)
    change = found * (weighted - scaled * (tl.sum(weighted * scaled) / size))
    kept = tl.load(residual + row * size + at, inside, 0.0).to(tl.float32)
    whole = (kept + change).to(dx.dtype.element_ty)
    tl.store(dx + row * size + at, whole, inside)
    if FP8:
        _round(whole.to(tl.float32), fp8_out, fp8_scale, row, at, size, inside)


@triton.jit
def _quantize(x, out, scale, size, stride, WIDTH: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < size
    values = tl.load(x + row * stride + at, inside, 0.0).to(tl.float32)
    _round(values, out, scale, row, at, size, inside)
