"""Packs: the same loss and gradients as records one by one, whatever computes them; the same bytes twice."""

import statistics
from itertools import combinations
from pathlib import Path

import pytest
from tiny_chain import ROOT, Chain, chain, python, refused, sha256

from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl
from adapter_build.kernels.packing import graph_sizes, pack_count, packs, rounded_layers
from adapter_build.models.nemo_archive import read_member
from adapter_build.tuning.pack_settings import incompatible_setting
from adapter_build.workflow.configuration import check, overlaid

HERE = Path(__file__).parent


@pytest.fixture
def tiny(tiny_base: Path) -> Chain:
    return chain(tiny_base)


def test_packs_hold_every_record_once_and_are_alike() -> None:
    lengths = [5, 900, 30, 30, 450, 450, 7, 60]
    found = packs(lengths, 2)
    assert sorted(number for pack in found for number in pack) == list(range(8))
    assert all(pack == sorted(pack) for pack in found)
    loads = [sum(lengths[number] for number in pack) for pack in found]
    assert abs(loads[0] - loads[1]) <= 30
    assert pack_count([[10, 10], [10] * 5, [20]], 20) == 3
    assert pack_count([[10, 10], [10] * 5, [20]], 20, 2) == 4


def test_the_sizes_of_graphs_add_the_fewest_tokens() -> None:
    tokens = [100, 120, 500, 510, 900, 1000, 1000]
    assert graph_sizes(tokens, 64, 9) == [128, 512, 960, 1024]
    assert graph_sizes(tokens, 64, 3) == [128, 512, 1024]
    assert graph_sizes(tokens, 64, 2) == [512, 1024]
    assert graph_sizes(tokens, 64, 1) == [1024]

    def added(sizes: tuple[int, ...]) -> int:
        return sum(min(size for size in sizes if size >= count) - count for count in tokens)

    every = [size for size in range(64, 1025, 64) if size < 1024]
    assert added(tuple(graph_sizes(tokens, 64, 3))) == min(added((*two, 1024)) for two in combinations(every, 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    "modules", ["q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj", "q_proj,v_proj", "up_proj"]
)
def test_gradients_are_those_of_records_one_by_one(tiny_base: Path, tmp_path: Path, modules: str) -> None:
    assert python(HERE / "compare_gradients.py", tmp_path, tiny_base, modules).strip().endswith("ok")


@pytest.mark.slow
def test_a_packed_run_learns_the_same_and_gives_the_same_bytes_twice(tiny: Chain, tmp_path: Path) -> None:
    settings = {"dropout": 0.0, "micro_batch_size": 1, "max_steps": 20, "validation_interval": 10}
    packed = {**settings, "pack_length": 300}
    runs = {
        "plain": settings,
        "packed": packed,
        "fused": {**packed, "kernels": "fused"},
        "again": {**packed, "kernels": "fused"},
        "less": {**packed, "kernels": "fused", "activations": "recompute"},
        "fastest": {**packed, "kernels": "fused", "attention": "fastest"},
    }
    for name, changes in runs.items():
        result = tiny.tune(tmp_path / name, **changes)
        assert result.returncode == 0, result.stderr

    def weights(name: str) -> bytes:
        return read_member(tmp_path / name / "adapter.nemo", "adapter_model.safetensors")

    rows = {name: list(read_jsonl(tmp_path / name / "metrics.jsonl")) for name in runs}
    for name in ("packed", "fused", "less", "fastest"):
        for row, wanted in zip(rows[name], rows["plain"], strict=True):
            assert row.keys() == wanted.keys()
            assert row == pytest.approx(wanted, rel=1e-4), name
    assert sha256(tmp_path / "again/metrics.jsonl") == sha256(tmp_path / "fused/metrics.jsonl")
    assert weights("again") == weights("fused") != weights("packed")


@pytest.mark.slow
def test_rounded_layers_learn_as_well_and_the_first_and_last_are_in_full(
    tiny: Chain, deep_base: Path, tmp_path: Path
) -> None:
    packed = {"dropout": 0.0, "micro_batch_size": 1, "max_steps": 20, "pack_length": 300, "kernels": "fused"}
    runs = {"full": {}, "products": {"products": "fp8"}, "weights": {"weights": "fp8"}}
    rows = {}
    for base, made in (("deep", chain(deep_base)), ("tiny", tiny)):
        for name, changes in runs.items():
            result = made.tune(tmp_path / f"{base}-{name}", **packed, **changes)
            assert result.returncode == 0, result.stderr
            rows[base, name] = list(read_jsonl(tmp_path / f"{base}-{name}/metrics.jsonl"))
    first = {name: rows["deep", name][0]["train_loss"] for name in runs}
    means = {
        name: statistics.mean(row["train_loss"] for row in rows["deep", name] if "train_loss" in row) for name in runs
    }
    for name in ("products", "weights"):
        assert first[name] == pytest.approx(first["full"], rel=0.05) and first[name] != first["full"], name
        assert means[name] == pytest.approx(means["full"], rel=0.05) and means[name] != means["full"], name
        assert rows["tiny", name] == rows["tiny", "full"], "a base of two layers has none between the first and last"
    assert list(rounded_layers(32)) == list(range(1, 31)) and not rounded_layers(1)


PLAIN = {
    "pack_length": 0, "kernels": "plain", "products": "full", "activations": "keep", "weights": "full",
    "attention": "repeatable", "micro_batch_size": 1, "sequence_length": 96, "dropout": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kernels": "fused"}, "kernels: fused requires packing: set pack_length"),
        ({"products": "fp8"}, "products: fp8 requires packing: set pack_length"),
        (
            {"pack_length": 300, "micro_batch_size": 2},
            "micro_batch_size: 2, but packs count as micro-batches of one",
        ),
        ({"pack_length": 95}, "pack_length: 95 is less than sequence_length, 96: raise it"),
        ({"attention": "fastest"}, "attention: fastest requires packing: set pack_length"),
        ({"pack_length": 96, "products": "fp8"}, "products: fp8 requires fused layers"),
        ({"pack_length": 96, "weights": "fp8"}, "weights: fp8 requires fused layers"),
        (
            {"pack_length": 96, "kernels": "fused", "weights": "fp8", "products": "fp8"},
            "weights: fp8 gives products in full",
        ),
        (
            {"pack_length": 96, "kernels": "graphed", "dropout": 0.1},
            "dropout: 0.1, which graphed layers do not support",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, object], said: str) -> None:
    assert said in str(incompatible_setting({**PLAIN, **changes}))
    repaired = {**PLAIN, "pack_length": 96, "kernels": "fused", "products": "fp8", "activations": "recompute"}
    assert incompatible_setting(PLAIN) is None and incompatible_setting(repaired) is None


@pytest.mark.slow
def test_the_script_refuses_them_and_graphs_without_a_gpu(tiny: Chain, tmp_path: Path) -> None:
    refused(tiny.tune(tmp_path / "out", kernels="fused"), "adapters.<name>.kernels: fused requires packing")
    changes = {"pack_length": 96, "micro_batch_size": 1, "dropout": 0.0, "kernels": "graphed"}
    refused(tiny.tune(tmp_path / "out", **changes), "graphed needs a GPU, and none was found")


def test_the_fast_overlay_goes_with_the_tutorials_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = overlaid(*map(Path, ("config.yaml", "configs/llama-3.1-8b-nim.yaml", "configs/fast.yaml")))
    check(config)
    adapter = config["adapters"]["law-titlegen"]
    assert (adapter["pack_length"], adapter["kernels"], adapter["products"]) == (8192, "graphed", "full")
    adapter["pack_length"] = adapter["sequence_length"] - 1
    with pytest.raises(BadInput, match="pack_length: 4095 is less than"):
        check(config)
