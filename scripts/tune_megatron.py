"""Tune a LoRA adapter as the tutorial does, with megatron_gpt_finetuning.py of the container of NeMo 24.07.

The prompts are copied beside the run, for NeMo writes an index next to each file that it reads. The weights of the
lowest validation loss, which the run leaves as checkpoints/megatron_gpt_peft_lora_tuning.nemo, are checked and packed
again.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import write_jsonl
from adapter_build.megatron.losses import read_losses
from adapter_build.megatron.nemo_files import check_adapter, check_base, repack
from adapter_build.megatron.programs import fused, run_program, tuning, unfit_for_megatron, with_tokenizer
from adapter_build.models.control_tokens import BaseFacts
from adapter_build.models.llama_shape import check_lengths
from adapter_build.records.prompts import read_prompts
from adapter_build.tuning.pack_settings import UNPACKED

PROGRAM = "megatron_gpt_finetuning.py"
LEFT = "checkpoints/megatron_gpt_peft_lora_tuning.nemo"  # name: megatron_gpt_peft_${model.peft.peft_scheme}_tuning


def main() -> None:
    """Read the options, check them and the base, tune, write checkpoint and metrics."""
    options = arguments().parse_args()
    settings = {**UNPACKED, **vars(options)}
    if fault := unfit_for_megatron(settings, options.devices):
        raise BadInput(f"adapters.<name>.{fault}")
    config = check_base(options.base)
    if "max_position_embeddings" in config:
        lengths = {"adapters.<name>.sequence_length": options.sequence_length}
        check_lengths(config, f"model_config.yaml of {options.base}", lengths)
    work = Path(tempfile.gettempdir()) / "tuning"  # one name: the adapter's own configuration holds it
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    rows = {
        "train": read_prompts(options.train),
        "validation": read_prompts(options.validation, options.validation_limit),
    }
    for name, found in rows.items():
        if not found:
            raise BadInput(f"{getattr(options, name)}: no records: loosen curate's bounds, or give more raw records")
        write_jsonl(work / f"{name}.jsonl", ({"input": row["input"], "output": row["output"]} for row in found))
    variables = with_tokenizer(config, options.tokenizer, work / "huggingface")
    result = work / "results"
    adds_bos = BaseFacts.read(options.base_facts).adds_bos if options.base_facts else None
    texts = work / "train.jsonl", work / "validation.jsonl"
    command = tuning(settings, options.base.absolute(), *texts, result, adds_bos)
    run_program(PROGRAM, command, variables)
    if not (result / LEFT).is_file():
        raise BadInput(f"{PROGRAM} ended well, but left no {LEFT}: see its log")
    check_adapter(result / LEFT, options.rank, options.alpha, fused(options.target_modules))
    losses = read_losses(result)
    repack(result / LEFT, options.checkpoint)
    write_jsonl(options.metrics, losses)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base", type=Path, required=True, help="the base's .nemo file (base.format megatron)")
    parser.add_argument("--tokenizer", type=Path, nargs="+", required=True, help="the base's Hugging Face files of it")
    parser.add_argument("--base-facts", type=Path, help="the base's facts, from compare_base: they decide on BOS")
    parser.add_argument("--train", type=Path, required=True, help="prompts to train on")
    parser.add_argument("--validation", type=Path, required=True, help="prompts to validate on")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the adapter's .nemo file to write")
    parser.add_argument("--metrics", type=Path, required=True, help="losses by step to write")
    parser.add_argument("--target-modules", nargs="+", required=True, help="linear layers that get an adapter")
    for name in ("rank", "max-steps", "micro-batch-size", "global-batch-size", "sequence-length", "devices", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("alpha", "dropout", "learning-rate"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--validation-interval", type=int, required=True, help="0: at the end only")
    parser.add_argument("--validation-limit", type=int, required=True, help="most validation records; 0: all")
    parser.add_argument("--patience", type=int, required=True, help="0: never stop early")
    parser.add_argument("--products", choices=("full", "fp8"), default="full", help="fp8: Transformer Engine's")
    parser.add_argument("--image", required=True, help="the container's image by digest, which decides what runs")
    return parser


if __name__ == "__main__":
    run(main)
