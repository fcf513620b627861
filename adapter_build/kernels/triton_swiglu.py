"""llama_kernels' SwiGLU and residuals, for NVIDIA GPUs, with LoRA's products added while a tile is at hand."""

# pyright: reportIndexIssue=false
# Triton has no types: what its decorator makes of a function, called with a grid in brackets.

import triton
import triton.language as tl
from torch import Tensor

from adapter_build.kernels.triton_norm import WARPS

ROWS, COLUMNS = 32, 128  # of a tile
LEAST = 16  # ranks that tl.dot takes


def swiglu(gate_up: Tensor, room: int, lora: tuple[Tensor, Tensor] | None) -> Tensor:
    """silu(gate) · up, then zeros."""
    rows, size = gate_up.shape[0], gate_up.shape[1] // 2
    h = gate_up.new_empty(rows, size + room)
    z, b = lora or (gate_up, gate_up)
    _swiglu[_grid(rows, size)](
        gate_up, h, z, b, rows, size, h.stride(0), z.shape[1], z.stride(0), b.stride(0),
        lora is not None, _ranks(z, lora), triton.next_power_of_2(max(room, 1)), ROWS, COLUMNS, num_warps=WARPS,
    )  # fmt: skip
    return h


def swiglu_backward(
    dh: Tensor, gate_up: Tensor, lora: tuple[Tensor, Tensor] | None, down: tuple[Tensor, Tensor] | None
) -> Tensor:
    """silu(gate) · up; gate and up become their gradients."""
    rows, size = gate_up.shape[0], gate_up.shape[1] // 2
    h = gate_up.new_empty(rows, size)
    (z, b), (dz, a) = lora or (gate_up, gate_up), down or (dh, dh)
    _swiglu_backward[_grid(rows, size)](
        dh, gate_up, h, z, b, dz, a, rows, size, dh.stride(0),
        z.shape[1], z.stride(0), b.stride(0), dz.shape[1], dz.stride(0), a.stride(0),
        lora is not None, _ranks(z, lora), down is not None, _ranks(dz, down), ROWS, COLUMNS, num_warps=WARPS,
    )  # fmt: skip
    return h


def finish(y: Tensor, residual: Tensor, z: Tensor, b: Tensor) -> Tensor:
    """y + residual + z · B, transposed, in place."""
    rows, size = y.shape
    _finish[_grid(rows, size)](
        y,
        residual,
        z,
        b,
        rows,
        size,
        z.shape[1],
        z.stride(0),
        b.stride(0),
        _ranks(z, y),
        ROWS,
        COLUMNS,
        num_warps=WARPS,
    )
    return y


def _grid(rows: int, size: int) -> tuple[int, int]:
    return triton.cdiv(size, COLUMNS), triton.cdiv(rows, ROWS)  # neighbours share rows


def _ranks(z: Tensor, asked: object) -> int:
    return LEAST if asked is None else max(triton.next_power_of_2(z.shape[1]), LEAST)


@triton.jit
def _tile(size, rows, ROWS: tl.constexpr, COLUMNS: tl.constexpr) -> tuple:
    """A tile's rows, as a column, its columns, as a row, and which of them there are."""
    row = (tl.program_id(1) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    at = (tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    return row, at, (row < rows) & (at < size)


@triton.jit
def _lora(z, weight, row, rows, at, size, ranks, stride, of_column, of_rank, RANKS: tl.constexpr) -> tl.tensor:
    """z's rows times a weight's columns: a tile."""
    rank = tl.arange(0, RANKS)
    left = tl.load(z + row * stride + rank[None, :], (row < rows) & (rank[None, :] < ranks), 0.0)
    address = weight + at.to(tl.int64) * of_column + rank[:, None].to(tl.int64) * of_rank
    right = tl.load(address, (at < size) & (rank[:, None] < ranks), 0.0)
    return tl.dot(left, right, input_precision="ieee")


@triton.jit
def _swiglu(
    gate_up, h, z, b, rows, size, stride, ranks, of_z, of_b,
    LORA: tl.constexpr, RANKS: tl.constexpr, ROOM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    row, at, inside = _tile(size, rows, ROWS, COLUMNS)
    address = gate_up + row * 2 * size + at
    gate = tl.load(address, inside, 0.0).to(tl.float32)
    up = tl.load(address + size, inside, 0.0).to(tl.float32)
    if LORA:
        gate += _lora(z, b, row, rows, at, size, ranks, of_z, of_b, 1, RANKS)
        up += _lora(z, b + size.to(tl.int64) * of_b, row, rows, at, size, ranks, of_z, of_b, 1, RANKS)
    kind = h.dtype.element_ty
    tl.store(h + row * stride + at, (gate * tl.sigmoid(gate)).to(kind) * up.to(kind), inside)
    if tl.program_id(0) == 0:
        tail = (size + tl.arange(0, ROOM))[None, :]
        tl.store(h + row * stride + tail, tl.zeros((ROWS, ROOM), kind), (row < rows) & (tail < stride))


@triton.jit
def _swiglu_backward(
    dh, gate_up, h, z, b, dz, a, rows, size, stride, ranks, of_z, of_b, down_ranks, of_dz, of_a,
    LORA: tl.constexpr, RANKS: tl.constexpr, DOWN: tl.constexpr, DOWN_RANKS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    row, at, inside = _tile(size, rows, ROWS, COLUMNS)
    address = gate_up + row * 2 * size + at
    gate = tl.load(address, inside, 0.0).to(tl.float32)
    up = tl.load(address + size, inside, 0.0).to(tl.float32)
    change = tl.load(dh + row * stride + at, inside, 0.0).to(tl.float32)
    if LORA:
        gate += _lora(z, b, row, rows, at, size, ranks, of_z, of_b, 1, RANKS)
        up += _lora(z, b + size.to(tl.int64) * of_b, row, rows, at, size, ranks, of_z, of_b, 1, RANKS)
    if DOWN:
        change += _lora(dz, a, row, rows, at, size, down_ranks, of_dz, 1, of_a, DOWN_RANKS)
    sigmoid = tl.sigmoid(gate)
    kind = h.dtype.element_ty
    tl.store(h + row * size + at, (gate * sigmoid).to(kind) * up.to(kind), inside)
    tl.store(address, (change * up * sigmoid * (1 + gate * (1 - sigmoid))).to(kind), inside)
    tl.store(address + size, (change * gate * sigmoid).to(kind), inside)


@triton.jit
def _finish(
    y, residual, z, b, rows, size, ranks, of_z, of_b, RANKS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
) -> None:
    row, at, inside = _tile(size, rows, ROWS, COLUMNS)
    whole = tl.load(y + row * size + at, inside, 0.0).to(tl.float32)
    whole += tl.load(residual + row * size + at, inside, 0.0).to(tl.float32)
    whole += _lora(z, b, row, rows, at, size, ranks, of_z, of_b, 1, RANKS)
    tl.store(y + row * size + at, whole.to(y.dtype.element_ty), inside)
