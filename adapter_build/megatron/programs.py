"""NeMo 24.07's own programs, its converter and megatron_gpt_finetuning.py: their command lines, and a run of one.

The program, its launcher and the first arguments are the tutorial notebook's; an adapter's other settings are written
out too, so that none is left to a default of the container. The names are those of
conf/megatron_gpt_finetuning_config.yaml at NeMo's tag r2.0.0rc1, whose defaults are the tutorial's other values.

The tutorial validates every 0.2 of an epoch, which NeMo makes of max_steps; here the interval is in steps. The learning
rate rises for 50 steps and falls as half a cosine to 0. Validation comes at the interval alone, not after the end.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.tuning.pack_settings import UNPACKED

NEMO = Path("/opt/NeMo")  # in the container
FINETUNING = "examples/nlp/language_modeling/tuning/megatron_gpt_finetuning.py"
CONVERTER = "scripts/checkpoint_converters/convert_llama_hf_to_nemo.py"
WARM_UP = 50  # steps; model.optim.sched.warmup_steps
OF_PACKS = {key: plain for key, plain in UNPACKED.items() if key != "products"}  # FP8 products exist here, too

# Transformer Engine's own FP8, of every layer: e4m3 forward, e5m2 for gradients, scaled by the greatest value of the
# last 1024 steps. The names are conf/megatron_gpt_config.yaml's, the values megatron_gpt_model.py's where nothing is
# said; the configuration of tuning lacks them, hence the ++.
FP8 = (
    "++model.fp8=True", "++model.fp8_e4m3=False", "++model.fp8_hybrid=True", "++model.fp8_margin=0",
    "++model.fp8_interval=1", "++model.fp8_amax_history_len=1024", "++model.fp8_amax_compute_algo=max",
)  # fmt: skip

# Megatron's layers are fused: each takes these together or not at all.
FUSED = {
    "attention_qkv": ("q_proj", "k_proj", "v_proj"),
    "attention_dense": ("o_proj",),
    "mlp_fc1": ("gate_proj", "up_proj"),
    "mlp_fc2": ("down_proj",),
}

COMPLAINT = re.compile(r"\s*(\[rank\d+\]: *)?((\w+\.)*\w*(Error|Exception)\b.*|Could not override.*)")
LAUNCHER = "ChildFailedError"  # torchrun's own: it comes last and gives no cause
MENDS = {
    "OutOfMemoryError": "lower adapters.<name>.micro_batch_size or sequence_length",
    "Could not override": "another NeMo than 24.07's: check containers/images.yaml",
}
REVISION = "0" * 40  # the cache's layout wants a commit, and any will do


def fused(target_modules: list[str]) -> list[str]:
    """Return Megatron's names of the layers. Raises `ValueError` where only a part of a fused layer is asked for."""
    layers = []
    for layer, parts in FUSED.items():
        asked = [part for part in parts if part in target_modules]
        if asked and len(asked) < len(parts):
            missing = [part for part in parts if part not in asked]
            raise ValueError(
                f"{', '.join(asked)} without {', '.join(missing)}: Megatron's {layer} is one layer of all: add "
                f"{', '.join(missing)}, or leave it out"
            )
        if asked:
            layers.append(layer)
    return layers


def unfit_for_megatron(adapter: Mapping[str, Any], devices: int) -> str | None:
    """Return the first setting of an adapter that this backend does not take, with the reason and the mend, or None."""
    try:
        fused(adapter["target_modules"])
    except ValueError as error:
        return f"target_modules: {error}"
    if foreign := [key for key, plain in OF_PACKS.items() if adapter[key] != plain]:
        return f"{foreign[0]}: {adapter[foreign[0]]} is of tune.backend embedded: leave it out"
    if adapter["max_steps"] <= WARM_UP:
        return (
            f"max_steps: {adapter['max_steps']}, but this backend's learning rate rises for {WARM_UP} steps: set more"
        )
    if adapter["validation_interval"] > adapter["max_steps"]:
        return "validation_interval: more than max_steps, so nothing would be chosen by: lower it"
    if adapter["global_batch_size"] % (adapter["micro_batch_size"] * devices):
        return "global_batch_size: must be a multiple of micro_batch_size times devices"
    return None


def conversion(files: Path, nemo: Path) -> list[str]:
    """Return the converter's command line, from a folder of Hugging Face files to the .nemo file `nemo`."""
    return [
        "python",
        str(NEMO / CONVERTER),
        f"--input_name_or_path={files}",
        f"--output_path={nemo}",
        "--precision=bf16",
    ]


def tuning(
    adapter: Mapping[str, Any], base: Path, train: Path, validation: Path, folder: Path, adds_bos: bool | None = None
) -> list[str]:
    """Return the command line that tunes an adapter, the notebook's own arguments first.

    `adapter` has the settings by their names in config, and `devices`. The run logs to `folder` and leaves its
    checkpoints in checkpoints/ there. `adds_bos`: the base's tokenizer puts BOS before a text, and so do servers; NeMo
    does only if told.
    """
    devices = adapter["devices"]
    stopping = (
        f"exp_manager.early_stopping_callback_params.patience={adapter['patience']}"
        if adapter["patience"]
        else "exp_manager.create_early_stopping_callback=False"
    )
    return [
        "torchrun",
        f"--nproc_per_node={devices}",
        str(NEMO / FINETUNING),
        f"exp_manager.exp_dir={folder}",
        f"exp_manager.explicit_log_dir={folder}",
        f"trainer.devices={devices}",
        "trainer.num_nodes=1",
        "trainer.precision=bf16-mixed",
        f"trainer.val_check_interval={adapter['validation_interval'] or adapter['max_steps']}",
        f"trainer.max_steps={adapter['max_steps']}",
        "model.megatron_amp_O2=True",
        "++model.mcore_gpt=True",
        "model.tensor_model_parallel_size=1",
        "model.pipeline_model_parallel_size=1",
        f"model.micro_batch_size={adapter['micro_batch_size']}",
        f"model.global_batch_size={adapter['global_batch_size']}",
        f"model.restore_from_path={base}",
        f"model.data.train_ds.file_names=[{train}]",
        "model.data.train_ds.concat_sampling_probabilities=[1.0]",
        f"model.data.validation_ds.file_names=[{validation}]",
        "model.peft.peft_scheme=lora",
        f"model.peft.lora_tuning.target_modules=[{','.join(fused(adapter['target_modules']))}]",
        f"model.peft.lora_tuning.adapter_dim={adapter['rank']}",
        f"model.peft.lora_tuning.alpha={_number(adapter['alpha'])}",
        f"model.peft.lora_tuning.adapter_dropout={adapter['dropout']}",
        f"model.optim.lr={adapter['learning_rate']}",
        f"model.seed={adapter['seed']}",
        f"model.data.train_ds.max_seq_length={adapter['sequence_length']}",
        f"model.data.validation_ds.max_seq_length={adapter['sequence_length']}",
        "model.data.train_ds.label_key=output",
        "model.data.train_ds.truncation_field=input",
        "model.answer_only_loss=True",
        *([] if adds_bos is None else [f"model.data.{part}_ds.add_bos={adds_bos}" for part in ("train", "validation")]),
        stopping,
        *(FP8 if adapter["products"] == "fp8" else ()),
    ]


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def with_tokenizer(config: dict[str, Any], files: Sequence[Path], cache: Path) -> dict[str, str]:
    """Put the base's own tokenizer where transformers looks for the one that the base's .nemo names, without a network.

    24.07's .nemo of a Llama 3 holds no tokenizer, but `tokenizer: {library: huggingface, type: OWNER/NAME}`, which the
    tutorial fetches with a token. Here `files`, which are on record, are put into a Hugging Face cache under that name.
    Returns the environment variables that make the program use the cache; none if the .nemo holds its tokenizer.
    Raises `BadInput` if its configuration names none at all.
    """
    tokenizer = config.get("tokenizer")
    if not isinstance(tokenizer, dict) or not (
        tokenizer.get("library") and (tokenizer.get("type") or tokenizer.get("model"))
    ):
        raise BadInput("the base's .nemo names no tokenizer (model_config.yaml: tokenizer): give another base.nemo")
    if tokenizer["library"] != "huggingface":
        return {}
    name = str(tokenizer["type"])
    if len(name.split("/")) != 2 or name.startswith((".", "/")):
        raise BadInput(f"the base's .nemo names the tokenizer {name!r}, no repository OWNER/NAME: convert it again")
    folder = cache / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, snapshot / file.name)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(REVISION)
    return {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def run_program(name: str, command: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
    """Run a program of the container, its output to the log. Raises `BadInput`, with its last error, if it fails."""
    print(shlex.join(command), flush=True)
    said = ""
    try:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(variables or {})},
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout
            for line in process.stdout:
                # The step runner would take such a line for this project's own error.
                print(f"  {line}" if line.startswith("error: ") else line, end="", flush=True)
                if (complaint := COMPLAINT.fullmatch(line.rstrip())) and LAUNCHER not in line:
                    said = complaint[2]
    except FileNotFoundError:
        raise BadInput(f"{command[0]}: no such program in this container: is it NeMo 24.07's (make pin)?") from None
    if process.returncode:
        mend = next((mend for sign, mend in MENDS.items() if sign in said), "its log has what it said")
        raise BadInput(f"{name} ended with exit code {process.returncode}{f': {said}' if said else ''}: {mend}")
