"""Action keys: equal wherever files lie, and another after every change that may change a result."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.action import Action

ROOT = Path(__file__).parents[3]


@pytest.fixture
def action(tmp_path, monkeypatch):
    """An action of a real script and lock whose input lies in a folder of its own."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "in.jsonl").write_text("{}\n")
    return Action(
        script=ROOT / "scripts/step.py",
        environment="curate",
        inputs={"records": [tmp_path / "in.jsonl"]},
        outputs={"out": [Path("results/out.jsonl")]},
        params={"seed": ["42"]},
    ).with_digests()


def test_action_key_ignores_where_files_lie(action, tmp_path):
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "in.jsonl", elsewhere)
    moved = dataclasses.replace(action, inputs={"records": [elsewhere / "in.jsonl"]}).with_digests()
    assert moved.key() == action.key()


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"seed": ["43"]}},
        {"environment": "tune"},
        {"threads": 2},
        {"devices": 1},
        {"outputs": {"out": [Path("results/other.jsonl")]}},
        {"script": ROOT / "adapter_build/core/jsonl.py"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_action_key_changes_with(action, change, monkeypatch):
    monkeypatch.setattr(
        "adapter_build.hermetic.action.device_class", lambda devices: f"gpu-{devices}" if devices else "cpu"
    )
    assert dataclasses.replace(action, **change).key() != action.key()


def test_action_key_changes_with_an_inputs_bytes(action, tmp_path):
    (tmp_path / "in.jsonl").write_text("{} \n")
    assert action.with_digests().key() != action.key()


def test_missing_input_is_named(action, tmp_path):
    (tmp_path / "in.jsonl").unlink()
    with pytest.raises(BadInput, match=r"in\.jsonl: declared as an input but missing"):
        action.with_digests()
