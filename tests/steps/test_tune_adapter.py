"""tune_adapter: real NeMo training on the tiny base, the same bytes twice, the best weights kept; bad input refused."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from adapter_samples import write_base
from tiny_chain import SETTINGS, SORTED_MODULES, Chain, chain, prompts, python, refused, script, sha256

from adapter_build.core.jsonl import read_jsonl
from adapter_build.models.nemo_archive import CONFIG, read_member, write_archive
from adapter_build.records.prompts import training_order

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow  # each imports PyTorch, most NeMo


@pytest.fixture
def tiny(tiny_base: Path) -> Chain:
    return chain(tiny_base)


def test_tokens_labels_and_loss(tiny_base: Path, tmp_path: Path) -> None:
    assert python(HERE / "check_training_tokens.py", tmp_path, tiny_base).strip().endswith("ok")


def test_two_runs_give_the_same_bytes(tiny: Chain, tmp_path: Path) -> None:
    result = tiny.tune(tmp_path / "again")
    assert result.returncode == 0, result.stderr
    assert sha256(tmp_path / "again/adapter.nemo") == sha256(tiny.checkpoint)
    assert sha256(tmp_path / "again/metrics.jsonl") == sha256(tiny.metrics)
    # Neither NeMo nor Lightning left a folder behind, here or in TMPDIR.
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["adapter.nemo", "metrics.jsonl", "scratch"]
    assert sorted(path.name for path in (tmp_path / "again/scratch").iterdir()) == ["home", "tmp"]
    assert not [path for path in (tmp_path / "again/scratch/tmp").rglob("*") if path.is_file()]


def test_metrics_and_checkpoint(tiny: Chain) -> None:
    rows = list(read_jsonl(tiny.metrics))
    steps = [row for row in rows if "train_loss" in row]
    checks = {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert [row["step"] for row in steps] == list(range(1, 61))
    assert list(checks) == [25, 50, 60]  # every 25 steps, and after the last
    assert {key for row in steps for key in row} == {"step", "train_loss", "learning_rate", "tokens"}
    assert all(row["tokens"] > 4 * 10 and row["learning_rate"] == SETTINGS["learning_rate"] for row in steps)
    assert checks[60] < checks[25] - 0.1, "it learned"
    config = yaml.safe_load(read_member(tiny.checkpoint, "model_config.yaml"))
    assert (config["step"], config["validation_loss"]) == min(checks.items(), key=lambda item: item[1])
    assert config["base_sha256"] == sha256(tiny.nemo)
    assert config["target_modules"] == SORTED_MODULES
    assert {key: config[key] for key in ("rank", "dropout", "seed")} == {"rank": 8, "dropout": 0.1, "seed": 7}


def test_early_stop_keeps_the_best(tiny: Chain, tmp_path: Path) -> None:
    changes = {"learning_rate": 3.0, "validation_interval": 1, "patience": 2, "max_steps": 30}
    result = tiny.tune(tmp_path / "out", **changes)
    assert result.returncode == 0, result.stderr
    checks = {r["step"]: r["validation_loss"] for r in read_jsonl(tmp_path / "out/metrics.jsonl") if len(r) == 2}
    best = min(checks, key=lambda step: checks[step])
    assert max(checks) == best + 2 < 30
    config = yaml.safe_load(read_member(tmp_path / "out/adapter.nemo", "model_config.yaml"))
    assert (config["step"], config["validation_loss"]) == (best, checks[best])


def test_ended_by_sigterm_it_says_so_and_leaves_nothing(tiny: Chain, tmp_path: Path) -> None:
    def end(process: subprocess.Popen[str]) -> None:
        while "validation_loss" not in process.stdout.readline():
            assert process.poll() is None
        process.terminate()

    result = tiny.tune(tmp_path / "out", meanwhile=end, max_steps=100000)
    assert result.returncode == 128 + signal.SIGTERM, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scratch"]
    assert not [path for path in (tmp_path / "out/scratch/tmp").rglob("*") if path.is_file()]


def test_loss_that_is_no_number_is_refused(tiny: Chain, tmp_path: Path) -> None:
    result = tiny.tune(tmp_path / "out", learning_rate=1e30)
    refused(result, "loss is", "adapters.<name>.learning_rate")
    assert not list((tmp_path / "out").glob("*.*"))


@pytest.mark.parametrize(("name", "said"), [("train", "curate.min_words"), ("validation", "split.seed")])
def test_no_records_is_refused(tiny: Chain, tmp_path: Path, name: str, said: str) -> None:
    empty = prompts(tmp_path / "empty.jsonl", 0, seed=0)
    refused(tiny.tune(tmp_path / "out", **{name: empty}), "empty.jsonl: no records", said)


def test_prompt_without_an_answer_is_refused(tiny: Chain, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(json.dumps({"id": "17", "input": "TITLE:", "output": " "}) + "\n")
    refused(tiny.tune(tmp_path / "out", train=tmp_path / "bad.jsonl"), "bad.jsonl: record 17 has no output")


def test_global_batch_that_is_no_multiple_is_refused(tiny: Chain, tmp_path: Path) -> None:
    refused(tiny.tune(tmp_path / "out", global_batch_size=3), "global_batch_size is 3", "micro_batch_size (2)")
    refused(tiny.tune(tmp_path / "out", nodes=3), "global_batch_size is 4", "times nodes (3)")


def test_more_nodes_than_validation_records_are_refused(tiny: Chain, tmp_path: Path) -> None:
    refused(tiny.tune(tmp_path / "out", nodes=2, validation_limit=1), "1 records for 2 nodes", "lower nodes")


def test_foreign_base_is_refused(tiny: Chain, tmp_path: Path) -> None:
    megatron, folder, text = tmp_path / "megatron.nemo", tmp_path / "folder.nemo", tmp_path / "text.nemo"
    write_archive(megatron, {"model_config.yaml": b"mcore_gpt: true\n", "model_weights.ckpt": b""})
    folder.mkdir()
    text.write_text("no tar")
    for base, said in ((megatron, "Megatron"), (folder, "is a folder"), (text, "not a .nemo file")):
        refused(tiny.tune(tmp_path / "out", base=base), base.name, said)
    for base in (megatron, folder):
        refused(tiny.tune(tmp_path / "out", base=base), "base.format")
    refused(tiny.tune(tmp_path / "out", base=tiny.checkpoint), "'hf-lora'", "base.format")


def test_every_record_comes_once_per_pass() -> None:
    order = training_order(10, 25, seed=3)
    assert [sorted(order[:10]), sorted(order[10:20])] == [list(range(10))] * 2
    assert order[:10] != order[10:20]
    assert order == training_order(10, 25, seed=3) != training_order(10, 25, seed=4)
    assert len(order) == 25


def test_a_length_beyond_any_base_is_refused_before_tuning(tmp_path: Path) -> None:
    base, nemo = tmp_path / "base", tmp_path / "base.nemo"
    write_base(base)
    write_archive(nemo, {CONFIG: b"format: hf\n", "config.json": base / "config.json"})
    files = {"train": tmp_path / "none", "validation": tmp_path / "none", "checkpoint": tmp_path / "a.nemo"}
    options = {**SETTINGS, **files, "base": nemo, "metrics": tmp_path / "m.jsonl"}
    for length, parts in ((513, ["adapters.<name>.sequence_length is 513", "512 positions"]), (512, ["none"])):
        result = script("tune", "tune_adapter", tmp_path / f"{length}", **options | {"sequence_length": length})
        refused(result, *parts)


def test_records_are_measured_by_the_tokenizer_alone(tiny_base: Path, tmp_path: Path) -> None:
    made = chain(tiny_base)
    said = python(HERE / "check_prompt_sizes.py", tmp_path, made.nemo, tiny_base, made.folder / "train.jsonl")
    assert said.strip().endswith("ok")
