"""Stands in for NeMo 24.07's program: takes its arguments as strictly as Hydra does, trains nothing, leaves its files.

NAMES are those of its configuration that a LoRA run may set, with their defaults. It wants of its base and its prompts
what the real one wants: a network, a tokenizer that loads without the network, {input, output} by line, and a folder
that it can write indexes to. A file `fault` beside it says in which way it fails.
"""

import json
import math
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

FAULT = Path(__file__).with_name("fault")
TRAIN = {
    "file_names": "???", "max_seq_length": 2048, "concat_sampling_probabilities": None, "label_key": "output",
    "truncation_field": "input", "truncation_method": "right", "add_eos": True, "add_sep": False,
    "add_bos": False, "prompt_template": "{input} {output}",
}  # fmt: skip
NAMES = {
    "name": "megatron_gpt_peft_${model.peft.peft_scheme}_tuning",
    "trainer": {
        "devices": 1, "accelerator": "gpu", "num_nodes": 1, "precision": 16, "max_steps": 20000,
        "log_every_n_steps": 10, "val_check_interval": 200, "gradient_clip_val": 1.0,
    },
    "exp_manager": {
        "explicit_log_dir": None, "exp_dir": None, "name": "${name}", "create_early_stopping_callback": True,
        "early_stopping_callback_params": {"monitor": "val_loss", "mode": "min", "min_delta": 0.001, "patience": 10},
    },
    "model": {
        "seed": 1234, "tensor_model_parallel_size": 1, "pipeline_model_parallel_size": 1, "global_batch_size": 128,
        "micro_batch_size": 4, "restore_from_path": "???", "megatron_amp_O2": False, "answer_only_loss": True,
        "peft": {
            "peft_scheme": "adapter", "restore_from_path": None,
            "lora_tuning": {
                "variant": "nemo", "target_modules": ["attention_qkv"], "adapter_dim": 32,
                "alpha": "${model.peft.lora_tuning.adapter_dim}", "adapter_dropout": 0.0,
            },
        },
        "data": {"train_ds": TRAIN, "validation_ds": {**TRAIN, "metric": {"name": "loss"}}},
        "optim": {
            "name": "fused_adam", "lr": 1e-4,
            "sched": {"name": "CosineAnnealing", "warmup_steps": 50, "constant_steps": 0, "min_lr": 0.0},
        },
    },
}  # fmt: skip


def main() -> None:
    """Read the arguments, ask for what is needed, leave what a run leaves."""
    fault = FAULT.read_text().strip() if FAULT.is_file() else ""
    with tempfile.TemporaryDirectory() as folder:
        OmegaConf.save(OmegaConf.create(NAMES), Path(folder) / "finetuning.yaml")
        with initialize_config_dir(folder, version_base=None):
            config = OmegaConf.to_container(compose("finetuning", overrides=sys.argv[1:]), resolve=True)
    model = config["model"]
    with tarfile.open(model["restore_from_path"]) as archive:
        base = OmegaConf.to_container(OmegaConf.create(archive.extractfile("./model_config.yaml").read().decode()))
    if base["tokenizer"]["library"] == "huggingface":
        from transformers import AutoTokenizer

        assert AutoTokenizer.from_pretrained(base["tokenizer"]["type"]).encode("TITLE:")
    for split in ("train_ds", "validation_ds"):
        for name in model["data"][split]["file_names"]:
            rows = [json.loads(line) for line in Path(name).read_text().splitlines()]
            assert rows and all(row["input"] and row["output"] for row in rows)
            Path(f"{name}.idx.npy").write_bytes(b"index")
    print("error: a word of its own", flush=True)
    if fault == "memory":
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    folder = Path(config["exp_manager"]["explicit_log_dir"])
    (folder / "checkpoints").mkdir(parents=True)
    if fault != "no losses":
        log(folder, config, math.nan if fault == "nan" else 2.0)
    if fault != "no adapter":
        adapter = {**base, **model, **({"format": "hf-lora"} if fault == "ours" else {})}
        if fault == "rank":
            adapter["peft"]["lora_tuning"]["adapter_dim"] += 1
        save(folder / "checkpoints" / f"{config['name']}.nemo", adapter, weights(adapter))


def weights(config: dict) -> dict[str, torch.Tensor]:
    """Return random matrices of the layers' fused shapes, under the names that they have there."""
    torch.manual_seed(config["seed"])
    hidden, heads, inner = config["hidden_size"], config["num_attention_heads"], config["ffn_hidden_size"]
    head = hidden // heads
    shapes = {
        "attention_qkv": (
            "self_attention",
            "lora_kqv_adapter",
            hidden,
            (heads + 2 * config["num_query_groups"]) * head,
        ),
        "attention_dense": ("self_attention", "lora_dense_attention_adapter", heads * head, hidden),
        "mlp_fc1": ("mlp", "lora_hto4h_adapter", hidden, 2 * inner),
        "mlp_fc2": ("mlp", "lora_4htoh_adapter", inner, hidden),
    }
    found, rank = {}, config["peft"]["lora_tuning"]["adapter_dim"]
    for layer in range(config["num_layers"]):
        for name in config["peft"]["lora_tuning"]["target_modules"]:
            block, adapter, inputs, outputs = shapes[name]
            prefix = f"model.module.decoder.layers.{layer}.{block}.adapter_layer.{adapter}"
            found[f"{prefix}.linear_in.weight"] = torch.randn(rank, inputs).bfloat16()
            found[f"{prefix}.linear_out.weight"] = torch.randn(outputs, rank).bfloat16()
    return found


def save(path: Path, config: dict, tensors: dict[str, torch.Tensor]) -> None:
    """Write a .nemo as NeMo does: a folder's files with their times, under names that begin with a dot."""
    with tempfile.TemporaryDirectory() as folder:
        OmegaConf.save(OmegaConf.create(config), Path(folder) / "model_config.yaml")
        torch.save(tensors, Path(folder) / "model_weights.ckpt")
        with tarfile.open(path, "w:") as archive:
            archive.add(folder, arcname="./")


def log(folder: Path, config: dict, loss: float) -> None:
    """Write a TensorBoard file, as exp_manager's logger does: the best validation is the second."""
    # The environment's protobuf is older than its tensorboard asks for; what is used of it here works.
    os.environ["TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK"] = "true"
    from torch.utils.tensorboard import SummaryWriter

    interval, last = config["trainer"]["val_check_interval"], config["trainer"]["max_steps"]
    with SummaryWriter(str(folder)) as writer:
        for step in range(9, last, 10):
            writer.add_scalar("reduced_train_loss", loss - step / 1000, step)
            writer.add_scalar("global_step", step, step)
        for number, step in enumerate(range(interval, last + 1, interval)):
            writer.add_scalar("validation_loss", loss + abs(number - 1) / 10, step - 1)


if __name__ == "__main__":
    main()
