"""Tune a LoRA adapter on a .nemo base with nemo_toolkit; the loss is that of the answers alone.

The order of records is shuffled by the seed, anew for each pass over them. Validation comes every --validation-interval
steps and after the last one; the checkpoint is that of the lowest validation loss, the earliest on ties. A step's loss
is the mean over its micro-batches of their mean over answer tokens. One script for CPU (float32) and GPU (bfloat16).
With --resume it goes on where a killed run with the same options was last saved, to the same bytes.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import find_package  # noqa: F401
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput, guard, run
from adapter_build.core.jsonl import write_jsonl
from adapter_build.core.processes import gc_paused
from adapter_build.models.answer_tokens import encode
from adapter_build.models.llama_shape import check_lengths
from adapter_build.models.nemo_archive import CONFIG, read_config, read_member, write_archive
from adapter_build.records.prompts import read_prompts, training_order
from adapter_build.tuning.gpu_preflight import preflight
from adapter_build.tuning.pack_settings import incompatible_setting

WEIGHTS = "adapter_model.safetensors"
FORMAT = "hf-lora"


def main() -> None:
    """Read the options, check them, train, write checkpoint and metrics."""
    options = arguments().parse_args()
    check_settings(options)
    read_config(options.base, "hf")
    shape = json.loads(read_member(options.base, "config.json"))
    check_lengths(shape, "the base's config.json", {"adapters.<name>.sequence_length": options.sequence_length})
    rows = {
        "train": read_prompts(options.train),
        "validation": read_prompts(options.validation, options.validation_limit),
    }
    check_rows(options, rows)
    with gc_paused():
        import torch

        from adapter_build.tuning import nemo_tuning  # 10 s
        from adapter_build.tuning.node_group import join
    if options.kernels == "graphed" and not torch.cuda.is_available():
        raise BadInput("adapters.<name>.kernels: graphed needs a GPU, and none was found: set it to fused")
    if torch.cuda.is_available():
        preflight(vars(options), rows["train"], torch.cuda.mem_get_info()[0], torch.cuda.get_device_name())

    group = join(options.nodes)
    base = nemo_tuning.restore(options.base, options.threads, options.seed)
    examples = {
        name: [encode(base.tokenizer, row, options.sequence_length, getattr(options, name)) for row in rows[name]]
        for name in rows
    }
    for name, found in examples.items():
        cut = sum(example.cut > 0 for example in found)
        print(f"{getattr(options, name)}: {len(found)} records, {cut} cut to {options.sequence_length} tokens")
    order = training_order(len(examples["train"]), options.max_steps * options.global_batch_size, options.seed)
    stream = [examples["train"][index] for index in order]
    result = nemo_tuning.tune(base, stream, examples["validation"], options, group)
    if group.rank:  # the first node writes
        return
    write_jsonl(options.metrics, result.metrics)
    config = describe(options, result.step, result.validation_loss)
    write_archive(options.checkpoint, {CONFIG: config, WEIGHTS: result.weights})


@guard
def check_settings(options: argparse.Namespace) -> None:
    """Raise `BadInput` for settings that do not go together."""
    if options.global_batch_size % (options.micro_batch_size * options.nodes):
        raise BadInput(
            f"adapters.<name>.global_batch_size is {options.global_batch_size}: it must be a multiple of "
            f"micro_batch_size ({options.micro_batch_size}) times nodes ({options.nodes})"
        )
    if fault := incompatible_setting(vars(options)):
        raise BadInput(f"adapters.<name>.{fault}")


@guard
def check_rows(options: argparse.Namespace, rows: Mapping[str, Sequence[object]]) -> None:
    """Raise `BadInput` for too few records to train or validate on."""
    if not rows["train"]:
        raise BadInput(f"{options.train}: no records to train on: loosen curate.min_words, max_words or min_score")
    if not rows["validation"]:
        raise BadInput(
            f"{options.validation}: no records to validate on: give more raw records (data.path) or change split.seed"
        )
    if len(rows["validation"]) < options.nodes:
        raise BadInput(
            f"{options.validation}: {len(rows['validation'])} records for {options.nodes} nodes: lower nodes"
        )


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", type=Path, required=True, help="the base's .nemo file (base.format hf)")
    parser.add_argument("--train", type=Path, required=True, help="prompts to train on")
    parser.add_argument("--validation", type=Path, required=True, help="prompts to validate on")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the adapter's .nemo file to write")
    parser.add_argument("--metrics", type=Path, required=True, help="losses by step to write")
    parser.add_argument("--target-modules", nargs="+", required=True, help="linear layers that get an adapter")
    for name in ("rank", "max-steps", "micro-batch-size", "global-batch-size", "sequence-length", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--nodes", type=int, default=1, help="nodes of a Slurm job that tune it together")
    for name in ("alpha", "dropout", "learning-rate"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--validation-interval", type=int, required=True, help="0: at the end only")
    parser.add_argument("--validation-limit", type=int, required=True, help="validation records at the most; 0: all")
    parser.add_argument("--patience", type=int, required=True, help="0: never stop early")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--resume", type=Path, help="a folder for what a killed run leaves to the next")
    parser.add_argument("--checkpoint-interval", type=int, default=0, help="steps after which that is saved; 0: never")
    parser.add_argument("--pack-length", type=int, default=0, help="tokens computed together; 0: micro-batches")
    parser.add_argument("--kernels", choices=("plain", "fused", "graphed"), default="plain")
    parser.add_argument("--activations", choices=("keep", "recompute"), default="keep")
    parser.add_argument("--products", choices=("full", "fp8"), default="full", help="the frozen weights' products")
    parser.add_argument("--weights", choices=("full", "fp8"), default="full", help="how memory holds them")
    parser.add_argument("--attention", choices=("repeatable", "fastest"), default="repeatable", help="its gradients")
    return parser


def describe(options: argparse.Namespace, step: int, validation_loss: float) -> bytes:
    """Return the checkpoint's model_config.yaml: what the adapter is, what it was made with, and of which base."""
    settings: dict[str, Any] = {
        name: value
        for name, value in vars(options).items()
        if name not in ("base", "train", "validation", "checkpoint", "metrics", "resume", "checkpoint_interval")
    }
    settings["target_modules"] = sorted(options.target_modules)
    if float(settings["alpha"]).is_integer():
        settings["alpha"] = int(settings["alpha"])
    content = {
        "format": FORMAT,
        "base_sha256": file_digest(options.base),
        "step": step,
        "validation_loss": validation_loss,
        **settings,
    }
    return yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=True).encode()


if __name__ == "__main__":
    run(main)
