"""The size of an adapter beside its base: the same bounds by the r by r matrices as by the products themselves."""

import math
from pathlib import Path

import numpy as np
import pytest
from adapter_samples import write_base
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from adapter_build.core.faults import BadInput
from adapter_build.models.adapter_settings import GREATEST_SCALE, LEAST_SCALE, odd_scale, scale_of
from adapter_build.models.adapter_size import (
    FLOOR,
    GREATEST_CHANGE,
    LEAST_CHANGE,
    BaseNorms,
    LargestChange,
    product_norm,
)

A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
INPUTS, OUTPUTS = 24, 16
quick = settings(max_examples=150, derandomize=True, deadline=None)


def matrices(seed: int, rank: int, size_a: float, size_b: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    a = (size_a * random.standard_normal((rank, INPUTS))).astype(np.float32)
    b = (size_b * random.standard_normal((OUTPUTS, rank))).astype(np.float32)
    return a, b


@quick
@given(
    seed=st.integers(0, 9), rank=st.sampled_from([1, 4, 32]), exponents=st.tuples(*[st.floats(-40, 2)] * 2),
    alpha=st.floats(0.001, 1000), rslora=st.booleans(),
)  # fmt: skip
def test_the_bounds_are_those_of_the_products(
    seed: int, rank: int, exponents: tuple[float, float], alpha: float, rslora: bool
) -> None:
    a, b = matrices(seed, rank, *(10.0**exponent for exponent in exponents))
    config = {"lora_alpha": alpha, "r": rank, "use_rslora": rslora}
    product = b.astype(np.float64) @ a.astype(np.float64)
    change = scale_of(config) * float(np.linalg.norm(product)) / math.sqrt(OUTPUTS)
    if any(math.isclose(change, bound, rel_tol=1e-3) for bound in (LEAST_CHANGE, GREATEST_CHANGE)):
        return
    changes = LargestChange(Path("w"), config, BaseNorms(), "law")
    changes.add(A, a, b)
    if LEAST_CHANGE < change < GREATEST_CHANGE:
        changes.check()
        return
    with pytest.raises(BadInput, match="above 100 times" if change > 1 else "the adapter is its base"):
        changes.check()


@quick
@given(seed=st.integers(0, 99), rank=st.sampled_from([1, 3, 8, 64]), size=st.floats(-20, 2))
def test_the_norm_is_that_of_the_product(seed: int, rank: int, size: float) -> None:
    a, b = matrices(seed, rank, 10.0**size, 1.0)
    assert product_norm(a, b) == pytest.approx(np.linalg.norm(b.astype(float) @ a.astype(float)), rel=1e-9)


@quick
@given(alpha=st.one_of(st.floats(5e-324, 1.7e308), st.integers(1, 2**1000)), rank=st.integers(1, 512), rs=st.booleans())
def test_a_scale_is_odd_where_it_is_outside_of_its_bounds(alpha: float, rank: int, rs: bool) -> None:
    scale = alpha / (math.sqrt(rank) if rs else rank)
    fault = odd_scale({"lora_alpha": alpha, "r": rank, "use_rslora": rs})
    assert (fault is None) == (LEAST_SCALE <= scale <= GREATEST_SCALE)


def test_practice_is_within_the_bounds() -> None:
    """Alpha and rank as people set them, with and without rsLoRA; rank 256 with weights of 0.01 on 4,096 inputs."""
    for alpha, rank, rslora in [
        (1, 512, False), (16, 1, False), (512, 8, False), (1, 256, True), (256, 256, True), (512, 64, True),
    ]:  # fmt: skip
        assert odd_scale({"lora_alpha": alpha, "r": rank, "use_rslora": rslora}) is None
    random = np.random.default_rng(0)
    size, rank = 4096, 256
    a = random.uniform(-1, 1, (rank, size)).astype(np.float32) / np.float32(math.sqrt(size))
    b = np.float32(0.01) * random.standard_normal((size, rank), dtype=np.float32)
    beside = 0.02 * size  # the norm of a weight of 4,096 by 4,096 whose numbers have a deviation of 0.02
    assert 0.5 < 16 * product_norm(a, b) / beside < 2


def test_norms_are_read_of_the_base(tmp_path: Path) -> None:
    """Of each type, of a matrix with more rows than are read; zeros and quantised weights count as usual ones."""
    write_base(tmp_path / "base")
    path = tmp_path / "base" / "model.safetensors"
    weights = load_file(str(path))
    name = "model.layers.0.mlp.gate_proj.weight"
    weights["tall"] = np.random.default_rng(1).standard_normal((1000, 8)).astype(np.float16)
    weights["none"] = np.zeros((64, 8), np.float32)
    weights["int"] = np.ones((64, 8), np.int8)
    save_file(weights, str(path))
    norms = BaseNorms([path])
    assert norms.norm(name, 96) == pytest.approx(np.linalg.norm(weights[name]), rel=0.2)
    assert norms.norm("tall", 1000) == pytest.approx(np.linalg.norm(weights["tall"].astype(float)), rel=0.2)
    assert norms.norm("none", 64) == norms.norm("int", 64) == FLOOR * 8
    assert norms.norm("unknown", 64) == 8
