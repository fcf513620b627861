"""A step in an image of others, on a real Docker Engine: that of tune.backend nemo-24.07, in a stand-in for NVIDIA's.

The image has a Python, a program `torchrun` where only its own PATH leads, and nothing of ours. Arguments, files and
numbers are for tests/workflow/test_megatron_chain.py: here it is asked what the container is given.
"""

import io
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from nim_images import PYTHON, _archive
from test_megatron import LORA, NETWORK, nemo

from adapter_build.core.jsonl import write_jsonl
from adapter_build.hermetic.envelope import read_statement
from adapter_build.hermetic.images import Image
from adapter_build.images.image_lock import record_image

pytestmark = [pytest.mark.slow, pytest.mark.containers]
VALUE = b"\x0a\x0fvalidation_loss\x15\x00\x00\xc0\x3f"  # as TensorBoard's own writer writes 1.5
EVENT = b"\x10\x03\x2a" + bytes([len(VALUE) + 2]) + b"\x0a" + bytes([len(VALUE)]) + VALUE


@pytest.fixture(scope="module")
def image(engine, registry, tmp_path_factory):
    """The stand-in, pushed; the engine itself no longer has it."""
    folder = tmp_path_factory.mktemp("image")
    config = {**NETWORK, "peft": {"peft_scheme": "lora", "lora_tuning": LORA}}
    files = {
        "opt/bin/torchrun": Path(__file__).with_name("stand_in_torchrun.py").read_bytes(),
        "adapter.nemo": nemo(folder / "adapter.nemo", config, "model_weights.ckpt").read_bytes(),
        "losses": len(EVENT).to_bytes(8, "little") + bytes(4) + EVENT + bytes(4),
    }
    content = io.BytesIO(_archive())
    with tarfile.open(fileobj=content, mode="a") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o755
            tar.addfile(entry, io.BytesIO(text))
        link = tarfile.TarInfo("usr/bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, str(PYTHON)
        tar.addfile(link)
        packages = ROOT / ".venvs/workflow/lib/python3.11/site-packages"
        tar.add(
            packages / "yaml", "usr/lib/python3.11/yaml", filter=lambda entry: None if ".so" in entry.name else entry
        )
    name = f"{registry}/tests/nemo:24.07"
    subprocess.run(
        ["docker", "import", "--change", "ENV PATH=/opt/bin:/usr/bin", "-", name],
        env=engine.environment, input=content.getvalue(), capture_output=True, check=True,
    )  # fmt: skip
    digest = re.search(r"digest: (sha256:\w+)", engine.docker("push", name))[1]
    engine.docker("rmi", name)
    return Image("nemo-24.07", name.rpartition(":")[0], digest, tag="24.07", verified="asked of its registry")


@pytest.fixture
def step(checkout, image, engine, monkeypatch):
    """Run tune_megatron.py in its container, with a base and prompts that lie here."""
    monkeypatch.chdir(checkout.folder)
    base = {**NETWORK, "tokenizer": {"library": "huggingface", "type": "meta-llama/Meta-Llama-3-8B"}}
    nemo(checkout.folder / "base.nemo", base, "model_weights.ckpt")
    write_jsonl("prompts.jsonl", [{"id": "1", "input": "QUESTION: may I?\nTITLE:", "output": "A title"}])
    record_image(checkout.folder / "containers/images.lock.yaml", image)
    settings = {
        "image": image.reference, "devices": 1, "rank": 8, "alpha": 16, "dropout": 0, "learning-rate": 1e-4,
        "max-steps": 60, "micro-batch-size": 1, "global-batch-size": 2, "sequence-length": 64,
        "validation-interval": 20, "validation-limit": 0, "patience": 0, "seed": 1,
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in ("--param", name, str(value))]

    def run():
        return subprocess.run(
            [ROOT / ".venvs/workflow/bin/python", "scripts/step.py", "--env", "nemo-24.07", "--runtime", "docker",
             "--log", "logs/tune_adapter/law.log", "--input", "base", "base.nemo", "--input", "train", "prompts.jsonl",
             "--input", "validation", "prompts.jsonl", "--input", "tokenizer", "tests/tiny/base/tokenizer.json",
             "--output", "checkpoint", "results/checkpoints/law.nemo", "--output", "metrics", "results/law.jsonl",
             "--param", "target-modules", "q_proj", "k_proj", "v_proj", *words, "--", "scripts/tune_megatron.py"],
            env=engine.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    run.folder = checkout.folder
    return run


def test_the_step_runs_in_it_by_digest(step, image, engine):
    """With the image's own Python and PATH, our scripts, its inputs read-only, and one name for its scratch."""
    done = step()
    log = step.folder / "logs/tune_adapter/law.log"
    assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")
    with tarfile.open(step.folder / "results/checkpoints/law.nemo") as archive:
        assert archive.getnames() == ["./model_config.yaml", "./model_weights.ckpt"]
    assert (step.folder / "results/law.jsonl").read_text() == '{"step": 3, "validation_loss": 1.5}\n'
    attested = read_statement(step.folder / "results/lineage/tune_adapter/law.json")["predicate"]
    run = attested["runDetails"]["byproducts"][0]["annotations"]
    assert run["runtime"] == "docker" and "read-only root" in run["isolation"] and "no network" in run["isolation"]
    found = {item["name"]: item for item in attested["buildDefinition"]["resolvedDependencies"]}
    assert f"sha256:{found['image']['digest']['sha256']}" == image.digest
    assert not engine.containers()


def test_a_digest_that_nobody_confirmed_is_not_run(step, engine):
    lock = step.folder / "containers/images.lock.yaml"
    content = yaml.safe_load(lock.read_text())
    content["images"]["nemo-24.07"]["verified"] = "not verified"
    lock.write_text(yaml.safe_dump(content))
    done = step()
    assert done.returncode == 2 and "is not verified: make pin asks its registry" in done.stderr, done.stderr
    assert not engine.containers() and not (step.folder / "results/checkpoints/law.nemo").exists()
