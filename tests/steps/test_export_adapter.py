"""export_adapter: the files load in PEFT, say of which base they are, and are the same every time."""

import json
from pathlib import Path

import pytest
import yaml
from tiny_chain import MODEL, SORTED_MODULES, Chain, chain, python, refused, sha256

from adapter_build.models.nemo_archive import read_member

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow  # each imports PyTorch, most NeMo


@pytest.fixture
def tiny(tiny_base: Path) -> Chain:
    return chain(tiny_base)


def test_peft_loads_it(tiny: Chain, tiny_base: Path, tmp_path: Path) -> None:
    said = python(HERE / "load_adapter.py", tmp_path, tiny_base, tiny.folder / "adapter")
    assert said.split()[-3:] == ["ok", "8", "32"]


def test_config_and_weights(tiny: Chain) -> None:
    config = json.loads(tiny.adapter[0].read_text())
    assert config["base_model_name_or_path"] == MODEL
    assert (config["task_type"], config["peft_type"], config["inference_mode"]) == ("CAUSAL_LM", "LORA", True)
    assert config["target_modules"] == SORTED_MODULES
    assert list(config) == sorted(config)
    assert tiny.adapter[1].read_bytes() == read_member(tiny.checkpoint, "adapter_model.safetensors")


def test_card(tiny: Chain, tmp_path: Path) -> None:
    text = (tiny.folder / "adapter/README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["base_model"], front["library_name"], front["license"]) == (MODEL, "peft", "apache-2.0")
    settings = yaml.safe_load(read_member(tiny.checkpoint, "model_config.yaml"))
    assert f"{settings['validation_loss']:.4f}" in text
    assert settings["base_sha256"] in text
    assert "| learning rate | 0.01 |" in text
    assert str(tiny.folder) not in text


def test_two_exports_are_the_same(tiny: Chain, tmp_path: Path) -> None:
    assert tiny.export(tmp_path / "again").returncode == 0
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md"):
        assert sha256(tmp_path / "again" / name) == sha256(tiny.folder / "adapter" / name)


def test_base_of_a_repository_and_of_ones_own(tiny: Chain, tmp_path: Path) -> None:
    assert tiny.export(tmp_path / "hub", revision="ab12").returncode == 0
    assert json.loads((tmp_path / "hub/adapter_config.json").read_text())["revision"] == "ab12"
    assert tiny.export(tmp_path / "own", model="me/mine", licence="").returncode == 0
    config = json.loads((tmp_path / "own/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("me/mine", None)
    assert "license: other" in (tmp_path / "own/README.md").read_text()


def test_base_in_the_place_of_a_checkpoint_is_refused(tiny: Chain, tmp_path: Path) -> None:
    refused(tiny.export(tmp_path / "out", checkpoint=tiny.nemo), "base.nemo", "'hf-lora'")


def test_metrics_of_another_run_are_refused(tiny: Chain, tmp_path: Path) -> None:
    other = tmp_path / "metrics.jsonl"
    other.write_text(tiny.metrics.read_text().replace('"validation_loss": ', '"validation_loss": 1'))
    refused(tiny.export(tmp_path / "out", metrics=other), "metrics.jsonl", "tune the adapter again")
