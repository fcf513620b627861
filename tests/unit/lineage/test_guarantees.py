"""The machine of a GPU step as recorded and as audited; a step without GPUs records none."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

from adapter_build.audit.diff import changes
from adapter_build.audit.rebuild_causes import another_processor
from adapter_build.core.faults import BadInput
from adapter_build.hermetic import devices
from adapter_build.hermetic.devices import cpu_facts, cpu_named, device_class, gpu_facts
from adapter_build.lineage.guarantees import promises, unrepeatable


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the driver's place."""
    (tmp_path / "nvidia-smi").symlink_to(Path(__file__).with_name("two_cards.sh"))
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


NAMES = ("vendor_id", "cpu family", "model", "model name", "flags")
INTEL, AMD = (
    "".join(f"{name}\t: {value}\n" for name, value in zip(NAMES, values, strict=True)) + "\n"
    for values in (
        ("GenuineIntel", "6", "85", "Intel(R) Xeon(R)", "avx2 bmi2 fma"),
        ("AuthenticAMD", "25", "33", "AMD EPYC", "avx2 bmi2 fma"),
    )
)
ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n\nprocessor\t: 1\n"


def processor(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> dict[str, str]:
    """Return the facts of a machine whose /proc/cpuinfo has this, of two processors."""
    (folder / "cpuinfo").write_text(text + text.replace("model", "other"))
    monkeypatch.setattr(devices, "CPUINFO", folder / "cpuinfo")
    return cpu_facts()


def test_the_processor_is_recorded_and_in_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    intel, amd, arm = (processor(monkeypatch, tmp_path, text) for text in (INTEL, AMD, ARM))
    assert intel == {"vendor": "GenuineIntel", "family": "6", "model": "85", "name": "Intel(R) Xeon(R)"}
    assert cpu_named(amd) == "AuthenticAMD family 25 model 33"
    assert cpu_named(arm) == "0x41 family 8 model 0xd0c"
    assert cpu_named({"name": "a processor of qemu's"}) == "a processor of qemu's"
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    classes = set()
    for text in (INTEL, AMD):
        processor(monkeypatch, tmp_path, text)
        classes.add(device_class(0))
    assert classes == {"cpu-x86-64-v3"}, "their class, which the action key has, is one"


def test_a_machine_that_tells_nothing_of_its_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "none")
    assert cpu_facts().keys() == {"name"} and cpu_facts()["name"]


def test_another_processor_is_named_as_a_cause(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the same one is not: then the step itself does not make the same bytes twice."""
    intel, amd = (processor(monkeypatch, tmp_path, text) for text in (INTEL, AMD))
    made = SimpleNamespace(ran={"cpu": amd})
    assert another_processor(made, amd) is None
    assert another_processor(made, {**amd, "name": "AMD EPYC, by another hypervisor's name"}) is None
    assert another_processor(made, intel) == (
        "made on AuthenticAMD family 25 model 33, rebuilt on GenuineIntel family 6 model 85: libraries compute by the "
        "processor, and may round otherwise"
    )
    assert another_processor(made, {**amd, "model": "97"}).startswith(
        "made on AuthenticAMD family 25 model 33, rebuilt"
    )
    assert another_processor(SimpleNamespace(ran={}), intel) == (
        "its attestation does not name the processor that made it; this one is GenuineIntel family 6 model 85"
    )


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
@pytest.mark.parametrize("processors", ["AMD → Intel", None])
def test_two_builds_that_differ_for_no_other_reason(option: str | None, processors: str | None) -> None:
    sections = ("data", "records", "parameters", "code", "images", "metrics")
    side = {"results": "results", "adapter": "law", "digest": "h1:x"}
    entry = {"name": "results/checkpoints/law.nemo", "before": "1", "after": "2", "steps": ["tune_adapter/law"]}
    entry |= {"processors": processors} if processors else {}
    unexplained = [{**entry, "expected": option} if option else entry]
    found = {
        "before": side,
        "after": side,
        **{name: [] for name in sections},
        "files": [entry],
        "unexplained": unexplained,
    }
    *_, last = changes(found)
    told = f": {option} lets it" if option else ""
    told += f" (on {processors})" if processors else ""
    assert last.endswith(f"made another results/checkpoints/law.nemo{told}")
