"""Digests of files, and the action key."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from adapter_build.core.digests import file_digest, set_digest
from adapter_build.core.faults import BadInput
from adapter_build.hermetic.action import Action

ROOT = Path(__file__).parents[3]


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_digest(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_set_digest_is_what_the_shell_computes(tmp_path):
    for name in ("xyz", "abc"):
        (tmp_path / name).write_text(f"data for {name}")
    # dirhash.Hash1 of Go's module system, as its documentation gives it for the shell.
    command = "sha256sum abc xyz | openssl dgst -sha256 -binary | openssl base64"
    expected = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert set_digest({name: tmp_path / name for name in ("xyz", "abc")}) == f"h1:{expected.strip()}"


def test_set_digest_knows_name_and_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = set_digest({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert first == set_digest({"b": tmp_path / "b", "a": tmp_path / "a"})
    assert first != set_digest({"b": tmp_path / "a", "a": tmp_path / "b"})
    (tmp_path / "b").write_text("c")
    assert first != set_digest({"a": tmp_path / "a", "b": tmp_path / "b"})


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
