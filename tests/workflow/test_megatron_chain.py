"""The tutorial's backend from its base's .nemo to the model store, through the step runner, with a stand-in for NeMo.

The stand-in (tests/stand_in_nemo) takes arguments through Hydra itself and is launched by torchrun itself; no program
of NVIDIA's container is run. Steps are called as Snakemake would call them, but on the host and without a GPU, in the
environment `tune`, which this checkout takes for the container's.
"""

import functools
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from refusing_machines import WITHOUT_LANDLOCK
from safetensors.numpy import load_file

from adapter_build.hermetic.envelope import read_statement
from adapter_build.hermetic.images import Image
from adapter_build.images.image_lock import record_image
from adapter_build.megatron.nemo_files import repack
from adapter_build.workflow.planned_steps import plan

pytestmark = pytest.mark.slow
NEMO = f"nvcr.io/nvidia/nemo@sha256:{'a' * 64}"
OVERLAY = {
    "base": {"format": "megatron"},
    "tune": {"backend": "nemo-24.07"},
    "devices": 1,
    "adapters": {
        "law-titlegen": {
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            "max_steps": 60, "validation_interval": 20, "validation_limit": 5, "patience": 2, "products": "fp8",
        }
    },
    "deploy": {"engine": "nim", "nim": {"image": "stand-in", "version": 1}},
}  # fmt: skip
CHECKPOINT = Path("results/checkpoints/law-titlegen.nemo")
STAGED = Path("results/loras/law-titlegen/law-titlegen.nemo")


@pytest.fixture
def project(copy_of_built, monkeypatch):
    """A checkout with its curated prompts, pinned images, the stand-in in NeMo's place, and a way to run a step."""
    folder = copy_of_built.folder
    monkeypatch.chdir(folder)
    for name in ("base", "checkpoints", "adapters", "loras", "evaluation"):
        for path in Path("results").glob(f"{name}/*"):
            if path.name not in ("tiny", "tiny.facts.json"):  # the base's Hugging Face files, and what is read of them
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    Path("megatron.yaml").write_text(yaml.safe_dump(OVERLAY))
    lock = Path("containers/images.lock.yaml")
    asked = {"verified": "asked of its registry"}
    record_image(lock, Image("nemo-24.07", "nvcr.io/nvidia/nemo", f"sha256:{'a' * 64}", tag="24.07", **asked))
    name = "nvcr.io/nim/tests/tiny-random-llama"
    record_image(lock, Image("stand-in", name, f"sha256:{'b' * 64}", tag="1.1.0", **asked))
    shutil.copytree(ROOT / "tests/stand_in_nemo", "nemo", dirs_exist_ok=True)
    settings = Path("adapter_build/megatron/programs.py")
    stand_in = settings.read_text().replace('Path("/opt/NeMo")', f'Path("{folder}/nemo")')
    assert stand_in != settings.read_text()
    settings.write_text(stand_in)
    Path(".venvs").unlink()
    Path(".venvs").mkdir()
    for name, target in (("workflow", "workflow"), ("tune", "tune"), ("nemo-24.07", "tune")):
        (Path(".venvs") / name).symlink_to(ROOT / ".venvs" / target)
        if name != target:
            shutil.copy(f"containers/{target}/requirements.lock", f"containers/{name}/requirements.lock")
    copy_of_built.fault = Path("nemo/examples/nlp/language_modeling/tuning/fault")
    copy_of_built.step = run_step
    return copy_of_built


@functools.cache  # the same in every such checkout
def planned(*overlays):
    return plan(["--configfile", "tests/tiny/config.yaml", "megatron.yaml", *overlays])


def run_step(name):
    """Run a step as planned, but on this host, without its GPU, and held by nothing, which would hide the stand-in."""
    words = [*planned().calls[name]]
    if "--runtime" in words:
        words[words.index("--runtime") + 1] = "host"
        at = words.index("--devices")
        words[at : at + 2] = []
    return call(words)


def call(words):
    environment = {**os.environ, "STEP_RUNTIME": "host", "STEP_KEY": "", "PATH": str(ROOT / ".venvs/workflow/bin")}
    command = [*WITHOUT_LANDLOCK, str(ROOT / ".venvs/workflow/bin/python"), "scripts/step.py", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def run_steps(project, *names):
    for name in names:
        done = project.step(name)
        assert done.returncode == 0, done.stderr + (project.folder / f"logs/{name}.log").read_text()[-3000:]


@pytest.fixture(scope="module")
def converted(tiny_base, tmp_path_factory):
    """The tiny base as the container's converter leaves it."""
    made = tmp_path_factory.mktemp("converted") / "tiny.nemo"
    program = ROOT / "tests/stand_in_nemo/scripts/checkpoint_converters/convert_llama_hf_to_nemo.py"
    options = [f"--input_name_or_path={tiny_base}", f"--output_path={made}"]
    subprocess.run([ROOT / ".venvs/tune/bin/python", program, *options], check=True)
    return made


def test_the_plan(project):
    """The same steps as ever, the middle of them in the container by digest."""
    steps = planned().calls
    of_the_adapter = {f"{step}_adapter/law-titlegen" for step in ("tune", "export", "evaluate", "stage")}
    assert of_the_adapter | {"convert_base/tiny", "check_deployment", "report"} <= set(steps)
    for name in ("convert_base/tiny", "tune_adapter/law-titlegen"):
        words = " ".join(steps[name])
        told = ["--env nemo-24.07", "--runtime docker", "--devices 1", f"--param image {NEMO}"]
        assert [
            option for option in (*told, "--ulimit memlock=-1", "--shared-memory 8192") if option not in words
        ] == []
    assert str(STAGED) in steps["stage_adapter/law-titlegen"] and str(STAGED) in steps["check_deployment"]
    assert str(CHECKPOINT) in steps["stage_adapter/law-titlegen"]
    Path("ngc.yaml").write_text("base: {nemo: config.yaml}\n")
    assert "scripts/take_megatron.py" in planned("ngc.yaml").calls["convert_base/tiny"]


def test_from_the_base_to_the_model_store(project):
    run_steps(project, "convert_base/tiny", "tune_adapter/law-titlegen", "export_adapter/law-titlegen")
    run_steps(project, "stage_adapter/law-titlegen")
    assert STAGED.read_bytes() == CHECKPOINT.read_bytes()
    assert [path.name for path in STAGED.parent.glob("*.nemo")] == ["law-titlegen.nemo"]
    with tarfile.open(STAGED) as archive:
        assert archive.getnames() == ["./model_config.yaml", "./model_weights.ckpt"]
        assert {entry.mtime for entry in archive} == {0}
        tuned_with = yaml.safe_load(archive.extractfile("./model_config.yaml"))
    assert tuned_with["fp8"] and tuned_with["fp8_hybrid"] and not tuned_with["fp8_e4m3"]
    rows = [json.loads(line) for line in CHECKPOINT.with_suffix(".metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "validation_loss" in row] == [19, 39, 59]
    assert [row["step"] for row in rows if "train_loss" in row] == [9, 19, 29, 39, 49, 59]
    # Every step is attested, the adapter's files travel with the attestations of all that led to them.
    said = read_statement(Path("results/lineage/tune_adapter/law-titlegen.json"))["predicate"]["buildDefinition"]
    assert said["externalParameters"]["parameters"]["image"] == [NEMO]
    audit = [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.audit"]
    done = subprocess.run([*audit, "show", STAGED], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "tune_adapter/law-titlegen" in done.stdout, done.stderr
    done = subprocess.run([*audit, "records", "law-titlegen"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "tuned by NeMo 24.07, in an order of its own" in done.stderr
    same_adapter()


def same_adapter():
    """PEFT's product, fused as the converter fuses the weights that it is added to, is Megatron's own."""
    peft = load_file("results/adapters/law-titlegen/adapter_model.safetensors")
    program = Path(__file__).with_name("megatron_tensors.py")
    subprocess.run([ROOT / ".venvs/tune/bin/python", program, CHECKPOINT, "megatron.safetensors"], check=True)
    megatron = load_file("megatron.safetensors")
    config = json.loads(Path("tests/tiny/base/config.json").read_text())
    heads, groups, head = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]

    def product(layer, module):
        name = f"base_model.model.model.layers.{layer}.{module}"
        return peft[f"{name}.lora_B.weight"] @ peft[f"{name}.lora_A.weight"]

    for layer in range(config["num_hidden_layers"]):
        q, k, v = (product(layer, f"self_attn.{name}_proj") for name in "qkv")
        fused = []
        for group in range(groups):
            size = heads // groups * head
            fused += [*q[group * size : (group + 1) * size], *k[group * head :][:head], *v[group * head :][:head]]
        gate_up = [*product(layer, "mlp.gate_proj"), *product(layer, "mlp.up_proj")]
        wanted = {
            "self_attention.adapter_layer.lora_kqv_adapter": fused,
            "self_attention.adapter_layer.lora_dense_attention_adapter": product(layer, "self_attn.o_proj"),
            "mlp.adapter_layer.lora_hto4h_adapter": gate_up,
            "mlp.adapter_layer.lora_4htoh_adapter": product(layer, "mlp.down_proj"),
        }
        for name, expected in wanted.items():
            prefix = f"model.module.decoder.layers.{layer}.{name}"
            ours = megatron[f"{prefix}.linear_out.weight"] @ megatron[f"{prefix}.linear_in.weight"]
            assert abs(ours - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no adapter", "ended well, but left no checkpoints/megatron_gpt_peft_lora_tuning.nemo"),
        (
            "memory",
            "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB: lower adapters.<name>.micro",
        ),
        ("nan", "step 9: the train_loss is nan: lower adapters.<name>.learning_rate"),
        ("no losses", "left no TensorBoard file"),
        ("ours", "says format 'hf-lora', which tune.backend embedded reads"),
        ("rank", "peft.lora_tuning.adapter_dim is 5, not 4"),
    ],
)
def test_a_run_that_fails_leaves_nothing(project, converted, fault, message):
    shutil.copy(converted, "results/base/tiny.nemo")
    project.fault.write_text(fault)
    done = project.step("tune_adapter/law-titlegen")
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(lines) == 1 and message in lines[0], done.stderr
    assert "Traceback" not in done.stderr and not CHECKPOINT.exists()
    assert not list(Path("results/.attempts").glob("*.lock"))


def test_an_argument_that_nemo_does_not_know_fails(project, converted):
    """The stand-in is as strict as Hydra, so a misspelt name would be noticed."""
    shutil.copy(converted, "results/base/tiny.nemo")
    settings = Path("adapter_build/megatron/programs.py")
    settings.write_text(settings.read_text().replace("lora_tuning.adapter_dropout", "lora_tuning.dropout"))
    done = project.step("tune_adapter/law-titlegen")
    assert done.returncode == 2 and "megatron_gpt_finetuning.py ended with exit code 1" in done.stderr, done.stderr
    assert (
        "Could not override 'model.peft.lora_tuning.dropout'" in Path("logs/tune_adapter/law-titlegen.log").read_text()
    )


def test_each_backend_refuses_the_others_base(project, built, converted):
    base = Path("results/base/tiny.nemo")
    shutil.copy(converted, base)
    other = plan(["--configfile", "tests/tiny/config.yaml"]).calls["tune_adapter/law-titlegen"]
    done = call(other)
    assert done.returncode == 2 and "a Megatron .nemo file has none" in done.stderr, done.stderr
    shutil.copy(built.folder / base, base)
    done = project.step("tune_adapter/law-titlegen")
    assert done.returncode == 2 and "says format 'hf', which tune.backend embedded reads" in done.stderr, done.stderr


def test_an_adapter_that_was_altered_is_not_staged(project):
    """One bit of a weight's exponent; a pickle that would run something; another adapter's settings."""
    run_steps(project, "convert_base/tiny", "tune_adapter/law-titlegen", "export_adapter/law-titlegen")
    done = subprocess.run(
        [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.verify_results", "--results", "results"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert CHECKPOINT.name not in done.stderr
    whole = CHECKPOINT.read_bytes()
    at = whole.index(b"model_weights.ckpt") + 2048
    CHECKPOINT.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    done = subprocess.run(
        [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.verify_results", "--results", "results"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode and CHECKPOINT.name in done.stdout + done.stderr
    for name, content in {"pickle": b"cos\nsystem\n(S'touch pwned'\ntR.", "empty": b""}.items():
        folder = Path(name)
        folder.mkdir()
        (folder / "model_weights.ckpt").write_bytes(content)
        with tarfile.open(CHECKPOINT) as archive:
            (folder / "model_config.yaml").write_bytes(archive.extractfile("./model_config.yaml").read())
        with tarfile.open("other.nemo", "w:") as archive:
            archive.add(folder, arcname="./")
        repack(Path("other.nemo"), CHECKPOINT)
        done = project.step("export_adapter/law-titlegen")
        assert done.returncode == 2 and "model_weights.ckpt is no file of tensors" in done.stderr, done.stderr
    assert not Path("pwned").exists()
    CHECKPOINT.write_bytes(whole[: len(whole) // 2])
    done = project.step("stage_adapter/law-titlegen")
    assert done.returncode == 2 and not STAGED.exists(), done.stderr
