"""Compare Triton's kernels, interpreted, with the plain ones."""

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"
sys.path.append(sys.argv[1])  # last: Triton alone is taken from there
from types import SimpleNamespace

import torch

from adapter_build.kernels import llama_kernels as plain
from adapter_build.kernels import triton_norm, triton_rotate, triton_swiglu
from adapter_build.kernels.llama_kernels import FP8

ours = SimpleNamespace(**{**vars(triton_norm), **vars(triton_rotate), **vars(triton_swiglu)})

torch.manual_seed(0)
TOKENS, SIZE, INNER = 37, 96, 200


def near(found, wanted, what):
    if wanted is None or isinstance(wanted, tuple):
        assert type(found) is type(wanted), what
        for left, right in zip(found or (), wanted or (), strict=True):
            near(left, right, what)
        return
    # The interpreter cuts numbers off where a GPU rounds them to FP8.
    most = 1 / 16 if wanted.dtype == FP8 else 2e-3 if dtype == torch.float16 else 1e-5
    assert found.dtype == wanted.dtype and found.shape == wanted.shape, what
    error = (found.float() - wanted.float()).norm() / wanted.float().norm()
    assert error < most, (what, found.dtype, error)


def rows(*size):
    return torch.randn(TOKENS, *size, dtype=dtype)


for dtype in (torch.float32, torch.float16):
    x, residual, weight = rows(SIZE), rows(SIZE), torch.rand(SIZE, dtype=dtype) + 0.5
    for room, fp8 in ((0, False), (64, False), (0, True)):
        near(ours.norm(x, weight, 1e-5, room, fp8), plain.norm(x, weight, 1e-5, room, fp8), "norm")
    scale, dy = plain.norm(x, weight, 1e-5, 0, False)[1], rows(SIZE + 64)
    for fp8 in (False, True):
        both = [module.norm_backward(dy, x, weight, scale, residual, fp8) for module in (ours, plain)]
        near(both[0], both[1], "norm_backward")
    near(ours.quantize(x), plain.quantize(x), "quantize")

    queries, keys, head = 9, 3, 16
    turn = torch.rand(TOKENS, head // 2).repeat(1, 2)
    cos, sin = turn.cos().to(dtype), turn.sin().to(dtype)
    gradients = [rows(heads, head) for heads in (queries, keys, keys)]
    for fp8 in (False, True):
        both = [module.rotate_back(*gradients, cos, sin, fp8) for module in (ours, plain)]
        near(both[0], both[1], "rotate_back")
    qkv = rows((queries + 2 * keys) * head)
    turned = [qkv.clone(), qkv.clone()]
    for module, whole in zip((ours, plain), turned, strict=True):
        module.rotate(whole, cos, sin, queries + keys)
    near(turned[0], turned[1], "rotate")
    # The failing twin: what is not turned as far is not near.
    try:
        near(qkv, turned[1], "not turned")
        raise SystemExit("it should not be near")
    except AssertionError:
        pass

    gate_up, z, b, dz = rows(2 * INNER), rows(20), torch.randn(2 * INNER, 20, dtype=dtype) / 5, rows(8)
    a = torch.randn(8, INNER, dtype=dtype)
    for room, lora in ((0, None), (64, None), (0, (z, b)), (0, (z[:, :6], b[:, :6]))):
        near(ours.swiglu(gate_up, room, lora), plain.swiglu(gate_up, room, lora), "swiglu")
    dh = rows(INNER + 64)
    for lora in (None, (z, b)):
        for down in (None, (dz, a)):
            changed = [gate_up.clone(), gate_up.clone()]
            both = [m.swiglu_backward(dh, g, lora, down) for m, g in zip((ours, plain), changed, strict=True)]
            near(both[0], both[1], "swiglu_backward")
            near(changed[0], changed[1], "swiglu_backward's gradients")
    y, residual, b = rows(INNER), rows(INNER), torch.randn(INNER, 8, dtype=dtype)
    near(ours.finish(y.clone(), residual, dz, b), plain.finish(y.clone(), residual, dz, b), "finish")
print("ok")
