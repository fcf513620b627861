"""What is recorded of a GPU step's machine, and what an audit says of it; a step without GPUs records nothing."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

from audit_diff_text import changes
from faults import BadInput
from hermetic.devices import device_class, gpu_facts
from promised_bytes import promises, unrepeatable

DRIVER = """#!/bin/sh
case "$1" in
*=name) printf 'NVIDIA H100 80GB HBM3\\nNVIDIA L4\\n' ;;
*=driver_version) printf '580.159.04\\n580.159.04\\n' ;;
esac
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the driver's place."""
    (tmp_path / "nvidia-smi").write_text(DRIVER)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(ROOT)


def test_the_machine_of_a_gpu_step(driver: None) -> None:
    facts = gpu_facts(1, "tune.cuda")
    assert facts["card"] == "NVIDIA H100 80GB HBM3" and facts["driver"] == "580.159.04"
    assert facts["torch"].startswith("2.")
    assert gpu_facts(2, "tune")["card"] == "NVIDIA H100 80GB HBM3+NVIDIA L4"
    assert device_class(1) == "gpu-NVIDIA H100 80GB HBM3", "its class, which the action key has, is the card alone"
    assert gpu_facts(0, "tune") == {}


def test_no_driver_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(ROOT)
    with pytest.raises(BadInput, match="nvidia-smi does not answer"):
        gpu_facts(1, "tune")


def step(device: str, gpu: dict[str, str] | None = None, **parameters: list[str]) -> SimpleNamespace:
    return SimpleNamespace(
        name="tune_adapter/law",
        circumstances={"device": device},
        ran={"gpu": gpu} if gpu else {},
        parameters=parameters,
    )


def test_what_an_audit_says() -> None:
    card = "NVIDIA L4: same bytes are promised on this card type alone"
    assert promises(step("cpu-x86-64-v3", attention=["repeatable"])) == []
    assert promises(step("gpu-NVIDIA L4")) == [f"tuned on {card}"]
    told = promises(step("gpu-NVIDIA L4", {"card": "NVIDIA L4", "driver": "1", "torch": "2"}, attention=["fastest"]))
    assert told == [
        "tuned on NVIDIA L4 (driver 1, torch 2): same bytes are promised on this card type alone",
        "attention: fastest: a rebuild may give other bytes",
    ]
    assert unrepeatable(step("any", attention=["fastest"])) == "attention: fastest"
    assert unrepeatable(step("any", attention=["repeatable"])) is None


@pytest.mark.parametrize("option", ["attention: fastest", None])
def test_two_builds_that_differ_for_no_other_reason(option: str | None) -> None:
    sections = ("data", "records", "parameters", "code", "images", "metrics")
    side = {"results": "results", "adapter": "law", "digest": "h1:x"}
    entry = {"name": "results/checkpoints/law.nemo", "before": "1", "after": "2", "steps": ["tune_adapter/law"]}
    unexplained = [{**entry, "expected": option} if option else entry]
    found = {
        "before": side,
        "after": side,
        **{name: [] for name in sections},
        "files": [entry],
        "unexplained": unexplained,
    }
    *_, last = changes(found)
    assert last.endswith("made another results/checkpoints/law.nemo" + (f": {option} lets it" if option else ""))
