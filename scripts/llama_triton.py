"""llama_kernels' functions for NVIDIA GPUs. The well-kept kernels do the same without room for LoRA's columns beside a
normed token, without the residual's gradient in the norm's, without LoRA's products in SwiGLU and without rounding:
each would be one more pass over memory."""

import torch
import triton
import triton.language as tl

Tensor = torch.Tensor
Rounded = tuple[Tensor, Tensor]
WARPS = 8
ROWS, COLUMNS = 32, 128  # of a tile
LEAST = 16  # ranks that tl.dot takes


def norm(x: Tensor, weight: Tensor, epsilon: float, room: int, fp8: bool) -> tuple[Tensor, Tensor, Rounded | None]:
    """RMSNorm, then zeros; 1/rms of each row; the same rounded."""
    rows, size = x.shape
    out = x.new_empty(rows, size + room)
    scale = torch.empty(rows, dtype=torch.float32, device=x.device)
    rounded = _rounded(rows, size, x) if fp8 else None
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
    rounded = _rounded(rows, size, x) if fp8 else None
    _norm_backward[(rows,)](
        dy, x, weight, scale, residual, dx, *(rounded or (dx, scale)), size, dy.stride(0),
        triton.next_power_of_2(size), fp8, num_warps=WARPS,
    )  # fmt: skip
    return dx, rounded


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
    rounded = _rounded(rows, out.shape[1], dq) if fp8 else None
    _rotate_back[(rows,)](
        dq, dk, dv, cos, sin, out, *(rounded or (out, cos)), queries, keys, cos.stride(0), size // 2,
        triton.next_power_of_2(queries), triton.next_power_of_2(keys), fp8, num_warps=WARPS,
    )  # fmt: skip
    return out, rounded


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


def quantize(x: Tensor) -> Rounded:
    """x in FP8 and its rows' scales."""
    rows, size = x.shape
    out, scale = _rounded(rows, size, x)
    width = triton.next_power_of_2(size)
    _quantize[(rows,)](x, out, scale, size, x.stride(0), width, num_warps=16 if width > 8192 else WARPS)
    return out, scale


def _rounded(rows: int, size: int, like: Tensor) -> Rounded:
    return (
        torch.empty(rows, size, dtype=torch.float8_e4m3fn, device=like.device),
        torch.empty(rows, 1, dtype=torch.float32, device=like.device),
    )


def _grid(rows: int, size: int) -> tuple[int, int]:
    return triton.cdiv(size, COLUMNS), triton.cdiv(rows, ROWS)  # neighbours share rows


def _ranks(z: Tensor, asked: object) -> int:
    return LEAST if asked is None else max(triton.next_power_of_2(z.shape[1]), LEAST)


@triton.jit
def _round(values, out, scale, row, at, size, inside) -> None:
    found = tl.maximum(tl.max(tl.abs(values)), 1e-30) / 448.0
    tl.store(scale + row, found)
    tl.store(out + row * size + at, (values / found).to(out.dtype.element_ty), inside)


@triton.jit
def _norm(
    x, weight, out, scale, eight, by, size, stride, epsilon, WIDTH: tl.constexpr, ROOM: tl.constexpr, FP8: tl.constexpr
) -> None:
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
        _round(normed.to(tl.float32), eight, by, row, at, size, inside)


@triton.jit
def _norm_backward(
    dy, x, weight, scale, residual, dx, eight, by, size, stride, WIDTH: tl.constexpr, FP8: tl.constexpr
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
        _round(whole.to(tl.float32), eight, by, row, at, size, inside)


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
def _turned_back(part, row, heads, c, s, HALF: tl.constexpr, HEADS: tl.constexpr) -> tuple:
    """The halves of a row's heads, turned back; what each head's place in a row is, and which there are."""
    head = tl.arange(0, HEADS)[:, None]
    place = head * 2 * HALF + tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (place >= 0)
    start = part + row * heads * 2 * HALF
    left = tl.load(start + place, inside, 0.0).to(tl.float32)
    right = tl.load(start + place + HALF, inside, 0.0).to(tl.float32)
    kind = part.dtype.element_ty
    return (left * c + right * s).to(kind), (right * c - left * s).to(kind), place, inside


@triton.jit
def _greatest(left, right) -> tl.tensor:
    return tl.maximum(tl.max(tl.abs(left.to(tl.float32))), tl.max(tl.abs(right.to(tl.float32))))


@triton.jit
def _put(out, left, right, place, inside, HALF: tl.constexpr, found) -> None:
    kind = out.dtype.element_ty
    tl.store(out + place, (left.to(tl.float32) / found).to(kind), inside)
    tl.store(out + place + HALF, (right.to(tl.float32) / found).to(kind), inside)


@triton.jit
def _rotate_back(
    dq, dk, dv, cos, sin, out, eight, by, queries, keys, turn,
    HALF: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, FP8: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, HALF)[None, :]
    c = tl.load(cos + row * turn + at).to(tl.float32)
    s = tl.load(sin + row * turn + at).to(tl.float32)
    q0, q1, place, inside = _turned_back(dq, row, queries, c, s, HALF, QUERIES)
    k0, k1, key, there = _turned_back(dk, row, keys, c, s, HALF, KEYS)
    v0, v1, key, there = _turned_back(dv, row, keys, 1.0, 0.0, HALF, KEYS)
    begin = row * (queries + 2 * keys) * 2 * HALF
    second, third = begin + queries * 2 * HALF, begin + (queries + keys) * 2 * HALF
    _put(out + begin, q0, q1, place, inside, HALF, 1.0)
    _put(out + second, k0, k1, key, there, HALF, 1.0)
    _put(out + third, v0, v1, key, there, HALF, 1.0)
    if FP8:
        most = tl.maximum(tl.maximum(_greatest(q0, q1), _greatest(k0, k1)), _greatest(v0, v1))
        found = tl.maximum(most, 1e-30) / 448.0
        tl.store(by + row, found)
        _put(eight + begin, q0, q1, place, inside, HALF, found)
        _put(eight + second, k0, k1, key, there, HALF, found)
        _put(eight + third, v0, v1, key, there, HALF, found)


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
    place = weight + at.to(tl.int64) * of_column + rank[:, None].to(tl.int64) * of_rank
    right = tl.load(place, (at < size) & (rank[:, None] < ranks), 0.0)
    return tl.dot(left, right, input_precision="ieee")


@triton.jit
def _swiglu(
    gate_up, h, z, b, rows, size, stride, ranks, of_z, of_b,
    LORA: tl.constexpr, RANKS: tl.constexpr, ROOM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    row, at, inside = _tile(size, rows, ROWS, COLUMNS)
    place = gate_up + row * 2 * size + at
    gate = tl.load(place, inside, 0.0).to(tl.float32)
    up = tl.load(place + size, inside, 0.0).to(tl.float32)
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
    place = gate_up + row * 2 * size + at
    gate = tl.load(place, inside, 0.0).to(tl.float32)
    up = tl.load(place + size, inside, 0.0).to(tl.float32)
    change = tl.load(dh + row * stride + at, inside, 0.0).to(tl.float32)
    if LORA:
        gate += _lora(z, b, row, rows, at, size, ranks, of_z, of_b, 1, RANKS)
        up += _lora(z, b + size.to(tl.int64) * of_b, row, rows, at, size, ranks, of_z, of_b, 1, RANKS)
    if DOWN:
        change += _lora(dz, a, row, rows, at, size, down_ranks, of_dz, 1, of_a, DOWN_RANKS)
    bent = tl.sigmoid(gate)
    kind = h.dtype.element_ty
    tl.store(h + row * size + at, (gate * bent).to(kind) * up.to(kind), inside)
    tl.store(place, (change * up * bent * (1 + gate * (1 - bent))).to(kind), inside)
    tl.store(place + size, (change * gate * bent).to(kind), inside)


@triton.jit
def _finish(
    y, residual, z, b, rows, size, ranks, of_z, of_b, RANKS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
) -> None:
    row, at, inside = _tile(size, rows, ROWS, COLUMNS)
    whole = tl.load(y + row * size + at, inside, 0.0).to(tl.float32)
    whole += tl.load(residual + row * size + at, inside, 0.0).to(tl.float32)
    whole += _lora(z, b, row, rows, at, size, ranks, of_z, of_b, 1, RANKS)
    tl.store(y + row * size + at, whole.to(y.dtype.element_ty), inside)


@triton.jit
def _quantize(x, out, scale, size, stride, WIDTH: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDTH)
    inside = at < size
    values = tl.load(x + row * stride + at, inside, 0.0).to(tl.float32)
    _round(values, out, scale, row, at, size, inside)
