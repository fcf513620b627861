"""What a configuration must be for the backend that tunes (tune.backend): each takes its own .nemo and leaves its own.

embedded     nemo_toolkit's HFAutoModelForCausalLM, here or in this project's own image; base.format hf
nemo-24.07   the tutorial's: megatron_gpt_finetuning.py in NVIDIA's container; base.format megatron. Its adapter is a
             Megatron .nemo, which NIM 1.x serves, and neither NIM 2.x nor vLLM
"""

from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.megatron.arguments import unfit_for_megatron
from adapter_build.tuning.pack_settings import incompatible_setting

MEGATRON = "nemo-24.07"  # also the environment of its steps, and its image in containers/images.yaml
FORMATS = {"embedded": "hf", MEGATRON: "megatron"}


def check_backend(config: dict[str, Any]) -> None:
    """Raise `BadInput` naming the first key that the chosen backend cannot do."""
    backend, base = config["tune"]["backend"], config["base"]
    if base["format"] != FORMATS[backend]:
        raise BadInput(
            f"config: base.format: {base['format']}, but tune.backend {backend} reads {FORMATS[backend]}: set it so"
        )
    if backend == MEGATRON:
        _check_megatron(config)
    elif base["nemo"]:
        raise BadInput("config: base.nemo: a Megatron .nemo, which tune.backend embedded does not read: leave it out")
    for name, adapter in config["adapters"].items():
        fault = unfit_for_megatron(adapter, config["devices"]) if backend == MEGATRON else incompatible_setting(adapter)
        if fault:
            raise BadInput(f"config: adapters.{name}.{fault}")


def _check_megatron(config: dict[str, Any]) -> None:
    """Raise `BadInput` where a Megatron .nemo could not be served, or the container not be run."""
    deploy = config["deploy"]
    if deploy["engine"] != "nim":
        raise BadInput(
            f"config: deploy.engine: {deploy['engine']} cannot read a Megatron .nemo adapter: set it to nim, with "
            "deploy.nim.version 1"
        )
    if deploy["nim"]["version"] != 1:
        raise BadInput(
            f"config: deploy.nim.version: NIM {deploy['nim']['version']}.x takes no .nemo adapter, only Hugging Face "
            "files: set it to 1, with an image of that version, or tune.backend to embedded"
        )
    if not config["devices"]:
        raise BadInput(f"config: devices: 0, but tune.backend {MEGATRON} runs on GPUs alone: set how many")
    if config["nodes"] > 1:
        raise BadInput(f"config: nodes: {config['nodes']}, but tune.backend {MEGATRON} runs on one: set it to 1")
