"""The tutorial's backend without its container: its command lines, what is refused before any step, what is taken."""

import io
import os
import re
import tarfile
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.images import Image, image_of
from adapter_build.images.image_lock import record_image
from adapter_build.megatron.losses import scalars
from adapter_build.megatron.nemo_files import check_adapter, check_base, repack
from adapter_build.megatron.programs import conversion, fused, run_program, tuning, with_tokenizer
from adapter_build.models.nemo_archive import read_config, write_archive
from adapter_build.nim.container import check_layout
from adapter_build.workflow.begin_build import pinned_images
from adapter_build.workflow.configuration import check, overlay

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
# What the tutorial's notebook gives to torchrun, an argument a line, with its own values; the files' names are ours.
TUTORIAL = [
    "torchrun",
    "--nproc_per_node=1",
    "/opt/NeMo/examples/nlp/language_modeling/tuning/megatron_gpt_finetuning.py",
    "exp_manager.exp_dir=/w/results",
    "exp_manager.explicit_log_dir=/w/results",
    "trainer.devices=1",
    "trainer.num_nodes=1",
    "trainer.precision=bf16-mixed",
    "trainer.val_check_interval=0.2",
    "trainer.max_steps=1000",
    "model.megatron_amp_O2=True",
    "++model.mcore_gpt=True",
    "model.tensor_model_parallel_size=1",
    "model.pipeline_model_parallel_size=1",
    "model.micro_batch_size=1",
    "model.global_batch_size=32",
    "model.restore_from_path=/b/base.nemo",
    "model.data.train_ds.file_names=[/w/train.jsonl]",
    "model.data.train_ds.concat_sampling_probabilities=[1.0]",
    "model.data.validation_ds.file_names=[/w/validation.jsonl]",
    "model.peft.peft_scheme=lora",
]
# What it leaves to NeMo 24.07's configuration (megatron_gpt_finetuning_config.yaml, tag r2.0.0rc1), as that has it.
DEFAULTS = [
    "model.peft.lora_tuning.target_modules=[attention_qkv]",
    "model.peft.lora_tuning.adapter_dim=32",
    "model.peft.lora_tuning.alpha=32",
    "model.peft.lora_tuning.adapter_dropout=0.0",
    "model.optim.lr=0.0001",
    "model.seed=1234",
    "model.data.train_ds.max_seq_length=2048",
    "model.data.validation_ds.max_seq_length=2048",
    "model.data.train_ds.label_key=output",
    "model.data.train_ds.truncation_field=input",
    "model.answer_only_loss=True",
    "exp_manager.early_stopping_callback_params.patience=10",
]
NETWORK = {"num_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "num_query_groups": 1}
LORA = {"adapter_dim": 8, "alpha": 16, "target_modules": ["attention_qkv"], "variant": "nemo"}


@pytest.fixture
def config(monkeypatch):
    """The overlay of the tutorial's job, as the Snakefile reads it, with a base's .nemo that is there."""
    monkeypatch.chdir(ROOT)
    merged = yaml.safe_load(Path("config.yaml").read_text())
    overlay(merged, yaml.safe_load(Path("configs/llama-3.1-8b-nemo-24.07.yaml").read_text()))
    merged["base"]["nemo"] = "config.yaml"
    check(merged)
    return merged


def command(config, **changes):
    adapter = {**config["adapters"]["law-titlegen"], "devices": config["devices"], **changes}
    return tuning(
        adapter, Path("/b/base.nemo"), Path("/w/train.jsonl"), Path("/w/validation.jsonl"), Path("/w/results")
    )


def test_the_tutorials_job_has_the_tutorials_arguments(config):
    """All but one to the letter: its 0.2 is of an epoch, which NeMo makes of 1000 steps; ours are 200 of its steps."""
    ours = command(config)
    assert ours[:8] == TUTORIAL[:8] and ours[9:21] == TUTORIAL[9:]
    assert (ours[8], TUTORIAL[8]) == ("trainer.val_check_interval=200", "trainer.val_check_interval=0.2")
    assert 0.2 * config["adapters"]["law-titlegen"]["max_steps"] == 200


def test_beyond_them_it_says_what_nemos_own_configuration_says(config):
    assert command(config)[21:] == DEFAULTS


@pytest.mark.parametrize("adds_bos", [True, False])
def test_prompts_begin_with_bos_where_the_tokenizer_puts_it(config, adds_bos):
    adapter = {**config["adapters"]["law-titlegen"], "devices": 1}
    ours = tuning(adapter, Path("/b.nemo"), Path("/t.jsonl"), Path("/v.jsonl"), Path("/r"), adds_bos)
    said = [f"model.data.train_ds.add_bos={adds_bos}", f"model.data.validation_ds.add_bos={adds_bos}"]
    assert [word for word in ours if "add_bos" in word] == said
    assert not [word for word in command(config) if "add_bos" in word]


def test_another_job_has_its_own(config):
    ours = command(
        config, rank=8, alpha=12.5, dropout=0.1, learning_rate=5e-6, patience=0, validation_interval=0, seed=7,
        target_modules=["down_proj", "up_proj", "gate_proj", "o_proj"], sequence_length=512, devices=4,
    )  # fmt: skip
    assert {
        "--nproc_per_node=4",
        "trainer.devices=4",
        "trainer.val_check_interval=1000",
        "model.peft.lora_tuning.target_modules=[attention_dense,mlp_fc1,mlp_fc2]",
        "model.peft.lora_tuning.adapter_dim=8",
        "model.peft.lora_tuning.alpha=12.5",
        "model.peft.lora_tuning.adapter_dropout=0.1",
        "model.optim.lr=5e-06",
        "model.seed=7",
        "model.data.validation_ds.max_seq_length=512",
        "exp_manager.create_early_stopping_callback=False",
    } <= set(ours)


def test_fp8_is_transformer_engines(config):
    config["adapters"]["law-titlegen"]["products"] = "fp8"
    check(config)
    plain, rounded = command(config, products="full"), command(config)
    assert rounded[: len(plain)] == plain
    assert rounded[len(plain) :] == [
        "++model.fp8=True",
        "++model.fp8_e4m3=False",
        "++model.fp8_hybrid=True",
        "++model.fp8_margin=0",
        "++model.fp8_interval=1",
        "++model.fp8_amax_history_len=1024",
        "++model.fp8_amax_compute_algo=max",
    ]


def test_the_converters_command_line():
    """The options of 24.07: with underscores, which later versions write as hyphens."""
    assert conversion(Path("/b/llama"), Path("/w/base.nemo")) == [
        "python",
        "/opt/NeMo/scripts/checkpoint_converters/convert_llama_hf_to_nemo.py",
        "--input_name_or_path=/b/llama",
        "--output_path=/w/base.nemo",
        "--precision=bf16",
    ]


@pytest.mark.parametrize(
    ("where", "changes", "message"),
    [
        (
            "adapter",
            {"target_modules": ["q_proj"]},
            "target_modules: q_proj without k_proj, v_proj: Megatron's attention",
        ),
        ("adapter", {"target_modules": ["up_proj"]}, "target_modules: up_proj without gate_proj: Megatron's mlp_fc1"),
        ("adapter", {"pack_length": 8192}, "pack_length: 8192 is of tune.backend embedded"),
        ("adapter", {"weights": "fp8"}, "weights: fp8 is of tune.backend embedded"),
        ("adapter", {"max_steps": 40}, "max_steps: 40, but this backend's learning rate rises for 50"),
        ("adapter", {"validation_interval": 2000}, "validation_interval: more than max_steps"),
        ("config", {"devices": 0}, "config: devices: 0, but tune.backend nemo-24.07 needs a GPU: set how many"),
        ("config", {"devices": 5}, "global_batch_size: must be a multiple of micro_batch_size times devices"),
        ("config", {"nodes": 2}, "config: nodes: 2, but tune.backend nemo-24.07 needs one: set it to 1"),
        ("base", {"format": "hf"}, "config: base.format: hf, but tune.backend nemo-24.07 needs megatron: set it"),
        ("base", {"nemo": "none.nemo"}, "config: base.nemo: none.nemo: no such file"),
        ("base", {"nemo_sha256": "abc"}, "config: base.nemo_sha256: 'abc' does not match"),
        (
            "deploy",
            {"engine": "embedded"},
            "config: deploy.engine: embedded, but a Megatron .nemo adapter needs nim: set it",
        ),
        ("nim", {"version": 2}, "config: deploy.nim.version: 2, but a Megatron .nemo adapter needs 1: set it"),
        ("tune", {"backend": "embedded"}, "config: base.format: megatron, but tune.backend embedded needs hf: set it"),
        ("tune", {"backend": "nemo-24.7"}, "did you mean 'nemo-24.07'?"),
    ],
)
def test_what_the_backend_cannot_do_is_refused(config, where, changes, message):
    section = {
        "adapter": config["adapters"]["law-titlegen"],
        "config": config,
        "nim": config["deploy"]["nim"],
    }.get(where) or config[where]
    section.update(changes)
    with pytest.raises(BadInput, match=re.escape(message)) as fault:
        check(config)
    assert "\n" not in str(fault.value)


def test_the_embedded_backend_reads_no_nemo_of_ngcs(config):
    config["tune"]["backend"], config["base"]["format"] = "embedded", "hf"
    with pytest.raises(BadInput, match=r"base\.nemo: a Megatron \.nemo needs tune\.backend nemo-24\.07: set that"):
        check(config)


def test_all_of_a_fused_layer_or_nothing():
    assert fused(["v_proj", "q_proj", "k_proj"]) == ["attention_qkv"]
    assert fused(["o_proj"]) == ["attention_dense"]


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        (
            {},
            "tune.backend nemo-24.07: containers/images.lock.yaml: the digest of nemo-24.07 (nvcr.io/nvidia/nemo",
        ),
        ({"digest": f"sha256:{'a' * 64}"}, "is not verified: make pin"),
        ({"digest": f"sha256:{'a' * 64}", "verified": "asked of its registry"}, None),
    ],
)
def test_an_image_that_is_not_pinned_is_not_run(config, tmp_path, monkeypatch, pins, message):
    (tmp_path / "containers").mkdir()
    monkeypatch.chdir(tmp_path)
    lock = Path("containers/images.lock.yaml")
    record_image(lock, Image("nemo-24.07", "nvcr.io/nvidia/nemo", tag="24.07", **pins))
    nim = {"digest": f"sha256:{'b' * 64}", "verified": "asked of its registry", "tag": "1.1.0"}
    record_image(lock, Image("nim-1", "nvcr.io/nim/meta/llama-3.1-8b-instruct", **nim))
    if message:
        with pytest.raises(BadInput, match=re.escape(message)):
            pinned_images(config, MODEL)
        with pytest.raises(BadInput, match="make pin"):
            image_of("nemo-24.07")
    else:
        nim, nemo = pinned_images(config, MODEL)
        assert (nim.version, nemo.reference) == (1, f"nvcr.io/nvidia/nemo@sha256:{'a' * 64}")
        assert image_of("nemo-24.07") == nemo


def test_an_image_that_no_lock_has_is_blamed_on_the_backend_alone(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config["deploy"]["engine"] = "embedded"
    with pytest.raises(BadInput, match=r"^tune\.backend nemo-24\.07: containers/images\.lock\.yaml has no ") as fault:
        pinned_images(config, MODEL)
    assert "deploy.nim" not in str(fault.value)


def nemo(path, config, *weights):
    """Write a .nemo as NeMo does: names that begin with a dot, and the times of the files."""
    with tarfile.open(path, "w:") as archive:
        for name, content in [
            ("model_config.yaml", yaml.safe_dump(config).encode()),
            *((name, b"w") for name in weights),
        ]:
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mtime, entry.uname = len(content), os.getpid(), "somebody"
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("weights", ["model_weights.ckpt", "model_weights/common.pt", "mp_rank_00/model_weights.ckpt"])
def test_bases_are_known_by_what_is_in_them(tmp_path, weights):
    assert check_base(nemo(tmp_path / "base.nemo", NETWORK, weights)) == NETWORK


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        ({"format": "hf"}, ["model.safetensors"], "says format 'hf', which tune.backend embedded reads"),
        ({"format": "hf-lora"}, ["adapter_model.safetensors"], "says format 'hf-lora'"),
        ({"target": "an ASR model"}, ["model_weights.ckpt"], "has no num_layers, so it is no Megatron .nemo"),
        ([], ["model_weights.ckpt"], "so it is no Megatron .nemo"),
        (NETWORK, [], "has no model_weights, so it is no whole .nemo"),
        ({**NETWORK, "peft": {"peft_scheme": "lora"}}, ["model_weights.ckpt"], "an adapter's .nemo, not a base's"),
    ],
)
def test_another_file_is_no_base(tmp_path, config, weights, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        check_base(nemo(tmp_path / "base.nemo", config, *weights))


def test_the_embedded_backend_refuses_a_megatron_file(tmp_path):
    with pytest.raises(BadInput, match=r"no format \(a Megatron .nemo file has none\), expected 'hf'"):
        read_config(nemo(tmp_path / "base.nemo", NETWORK, "model_weights.ckpt"), "hf")


@pytest.mark.parametrize(
    ("lora", "weights", "message"),
    [
        (LORA, ["model_weights.ckpt"], None),
        ({**LORA, "adapter_dim": 4}, ["model_weights.ckpt"], "peft.lora_tuning.adapter_dim is 4, not 8"),
        ({**LORA, "target_modules": ["all"]}, ["model_weights.ckpt"], "target_modules is ['all']"),
        ({**LORA, "variant": "canonical"}, ["model_weights.ckpt"], "variant is 'canonical'"),
        (LORA, ["mp_rank_00/model_weights.ckpt"], "has no model_weights.ckpt, so it is no whole adapter"),
        (None, ["model_weights.ckpt"], "has no section peft of a LoRA adapter"),
    ],
)
def test_adapters_are_known_by_what_is_in_them(tmp_path, lora, weights, message):
    config = {**NETWORK, "peft": {"peft_scheme": "lora", "lora_tuning": lora}} if lora else NETWORK
    path = nemo(tmp_path / "adapter.nemo", config, *weights)
    if message:
        with pytest.raises(BadInput, match=re.escape(message)):
            check_adapter(path, 8, 16.0, ["attention_qkv"])
    else:
        assert check_adapter(path, 8, 16.0, ["attention_qkv"]) == config


def test_the_same_files_are_packed_to_the_same_bytes(tmp_path, monkeypatch):
    packed = []
    for number, order in enumerate([("a/b", "model_weights.ckpt"), ("model_weights.ckpt", "a/b")]):
        monkeypatch.setattr(os, "getpid", lambda number=number: 1000 + number)
        repack(nemo(tmp_path / "nemo", NETWORK, *order), tmp_path / "packed")
        packed.append((tmp_path / "packed").read_bytes())
    assert packed[0] == packed[1]
    with tarfile.open(tmp_path / "packed") as archive:
        assert archive.getnames() == ["./a/b", "./model_config.yaml", "./model_weights.ckpt"]
    for size in (1100, 2300, 3072):  # in a header, in a later one, after the last file
        (tmp_path / "cut").write_bytes(packed[0][:size])
        with pytest.raises(BadInput, match=r"not a whole \.nemo|has no model_config"):
            check_base(tmp_path / "cut")
            repack(tmp_path / "cut", tmp_path / "other")
    write_archive(tmp_path / "outside", {"../x": b"x"})
    with pytest.raises(BadInput, match="lies outside of it"):
        repack(tmp_path / "outside", tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "nemo", "outside", "packed"]


def test_a_folder_of_one_nemo_is_what_nim_1_reads_and_2_does_not(tmp_path):
    folder = tmp_path / "loras/law-titlegen"
    folder.mkdir(parents=True)
    (folder / "law-titlegen.nemo").write_bytes(b"")
    check_layout(1, folder)
    with pytest.raises(BadInput, match=r"NIM 2.x wants adapter_config.json and adapter_model.safetensors"):
        check_layout(2, folder)


@pytest.mark.parametrize("tokenizer", [None, {"library": "huggingface"}, {"library": "huggingface", "type": "/x"}])
def test_a_base_whose_tokenizer_cannot_be_had(tmp_path, tokenizer):
    with pytest.raises(BadInput, match=r"the base's \.nemo names"):
        with_tokenizer({"tokenizer": tokenizer}, [], tmp_path)


def test_a_base_that_brings_its_tokenizer(tmp_path):
    assert with_tokenizer({"tokenizer": {"library": "sentencepiece", "model": "nemo:x"}}, [], tmp_path) == {}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "llama", "rope_scaling": {"rope_type": "llama3"}}', "rope_scaling is 'llama3'"),
        ('{"model_type": "mistral"}', "model_type is 'mistral'"),
        ("[]", "not a model's configuration"),
    ],
)
def test_a_base_that_the_converter_does_not_take(run_script, tmp_path, config, message):
    """Llama 3.1 among them: the converter of 24.07 knows no scaling of rotary embeddings but the linear one."""
    (tmp_path / "config.json").write_text(config)
    done = run_script(
        "workflow", "convert_megatron", files=tmp_path / "config.json", nemo=tmp_path / "base.nemo", image="x"
    )
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_nemo_of_ngcs_is_taken_if_it_is_the_one(run_script, tmp_path):
    source, copy = nemo(tmp_path / "base.nemo", NETWORK, "model_weights.ckpt"), tmp_path / "copy.nemo"
    done = run_script("workflow", "take_megatron", source=source, sha256="0" * 64, nemo=copy)
    assert done.returncode == 2 and "not base.nemo_sha256" in done.stderr and not copy.exists()
    done = run_script("workflow", "take_megatron", source=source, sha256="", nemo=copy)
    assert done.returncode == 0 and copy.read_bytes() == source.read_bytes(), done.stderr


def test_a_programs_last_complaint_is_told_and_not_its_launchers(capfd):
    said = "[rank0]: torch.OutOfMemoryError: CUDA out of memory", "torch.x.ChildFailedError:", "  at the end"
    with pytest.raises(BadInput) as fault:
        run_program("p.py", ["sh", "-c", f"printf '%s\\n' {' '.join(repr(line) for line in said)}; exit 3"])
    assert str(fault.value) == (
        "p.py ended with exit code 3: torch.OutOfMemoryError: CUDA out of memory: "
        "lower adapters.<name>.micro_batch_size or sequence_length"
    )
    with pytest.raises(BadInput, match="no-such-program: no such program in this container"):
        run_program("p.py", ["no-such-program"])
    run_program("p.py", ["echo", "error: of its own"])
    assert "\n  error: of its own" in capfd.readouterr().out  # which the step runner would take for ours


def test_a_tensorboard_file_that_was_cut_off(tmp_path):
    """A record of step 3, tag `a`, 1.5, as TensorBoard's own writer frames it; then less of it."""
    value = b"\x0a\x01a\x15\x00\x00\xc0\x3f"
    event = b"\x09" + bytes(8) + b"\x10\x03\x2a" + bytes([len(value) + 2]) + b"\x0a" + bytes([len(value)]) + value
    record = len(event).to_bytes(8, "little") + bytes(4) + event + bytes(4)
    path = tmp_path / "events"
    path.write_bytes(record * 2)
    assert list(scalars(path)) == [(3, "a", 1.5)] * 2
    for size in (1, 9, 20, len(record) - 1):
        path.write_bytes(record + record[:size])
        with pytest.raises(ValueError, match="in the middle of a record"):
            list(scalars(path))
