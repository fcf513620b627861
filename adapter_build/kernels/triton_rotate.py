"""llama_kernels' rotation of heads, for NVIDIA GPUs: backward, q, k and v are joined and rounded on the way."""

# pyright: reportIndexIssue=false
# Triton has no types: what its decorator makes of a function, called with a grid in brackets.

import triton
import triton.language as tl
from torch import Tensor

from adapter_build.kernels.triton_norm import WARPS, Rounded, rounded_like


def rotate(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    """The first `heads` heads of each row turned, in place."""
    half = cos.shape[1] // 2
    _rotate[(x.shape[0],)](x, cos, sin, heads, x.stride(0), cos.stride(0), half, triton.next_power_of_2(heads))


def rotate_back(
    dq: Tensor, dk: Tensor, dv: Tensor, cos: Tensor, sin: Tensor, fp8: bool
) -> tuple[Tensor, Rounded | None]:
    """The gradients side by side, q's and k's turned back, and that rounded."""
    dq, dk, dv = dq.contiguous(), dk.contiguous(), dv.contiguous()
    rows, queries, size = dq.shape
    keys = dk.shape[1]
    out = dq.new_empty(rows, (queries + 2 * keys) * size)
    rounded = rounded_like(rows, out.shape[1], dq) if fp8 else None
    _rotate_back[(rows,)](
        dq, dk, dv, cos, sin, out, *(rounded or (out, cos)), queries, keys, cos.stride(0), size // 2,
        triton.next_power_of_2(queries), triton.next_power_of_2(keys), fp8, num_warps=WARPS,
    )  # fmt: skip
    return out, rounded


@triton.jit
def _rotate(x, cos, sin, heads, stride, turn, HALF: tl.constexpr, HEADS: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, HALF)[None, :]
    head = tl.arange(0, HEADS)[:, None]
    inside = (head < heads) & (at < HALF)
    c = tl.load(cos + row * turn + at).to(tl.float32)
    s = tl.load(sin + row * turn + at).to(tl.float32)
    address = x + row * stride + head * 2 * HALF + at
    left = tl.load(address, inside, 0.0).to(tl.float32)
    right = tl.load(address + HALF, inside, 0.0).to(tl.float32)
    tl.store(address, (left * c - right * s).to(x.dtype.element_ty), inside)
    tl.store(address + HALF, (right * c + left * s).to(x.dtype.element_ty), inside)


@triton.jit
def _turned_back(part, row, heads, c, s, HALF: tl.constexpr, HEADS: tl.constexpr) -> tuple:
    """The halves of a row's heads, turned back; what each head's offset in a row is, and which there are."""
    head = tl.arange(0, HEADS)[:, None]
    offset = head * 2 * HALF + tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (offset >= 0)
    start = part + row * heads * 2 * HALF
    left = tl.load(start + offset, inside, 0.0).to(tl.float32)
    right = tl.load(start + offset + HALF, inside, 0.0).to(tl.float32)
    kind = part.dtype.element_ty
    return (left * c + right * s).to(kind), (right * c - left * s).to(kind), offset, inside


@triton.jit
def _greatest(left, right) -> tl.tensor:
    return tl.maximum(tl.max(tl.abs(left.to(tl.float32))), tl.max(tl.abs(right.to(tl.float32))))


@triton.jit
def _put(out, left, right, offset, inside, HALF: tl.constexpr, found) -> None:
    kind = out.dtype.element_ty
    tl.store(out + offset, (left.to(tl.float32) / found).to(kind), inside)
    tl.store(out + offset + HALF, (right.to(tl.float32) / found).to(kind), inside)


@triton.jit
def _rotate_back(
    dq, dk, dv, cos, sin, out, fp8_out, fp8_scale, queries, keys, turn,
    HALF: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, FP8: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, HALF)[None, :]
    c = tl.load(cos + row * turn + at).to(tl.float32)
    s = tl.load(sin + row * turn + at).to(tl.float32)
    q0, q1, offset, inside = _turned_back(dq, row, queries, c, s, HALF, QUERIES)
    k0, k1, key, there = _turned_back(dk, row, keys, c, s, HALF, KEYS)
    v0, v1, key, there = _turned_back(dv, row, keys, 1.0, 0.0, HALF, KEYS)
    begin = row * (queries + 2 * keys) * 2 * HALF
    second, third = begin + queries * 2 * HALF, begin + (queries + keys) * 2 * HALF
    _put(out + begin, q0, q1, offset, inside, HALF, 1.0)
    _put(out + second, k0, k1, key, there, HALF, 1.0)
    _put(out + third, v0, v1, key, there, HALF, 1.0)
    if FP8:
        most = tl.maximum(tl.maximum(_greatest(q0, q1), _greatest(k0, k1)), _greatest(v0, v1))
        found = tl.maximum(most, 1e-30) / 448.0
        tl.store(fp8_scale + row, found)
        _put(fp8_out + begin, q0, q1, offset, inside, HALF, found)
        _put(fp8_out + second, k0, k1, key, there, HALF, found)
        _put(fp8_out + third, v0, v1, key, there, HALF, found)
