"""Checks of a valid configuration that no schema expresses: files that it names, and settings against one another."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import given_object
from adapter_build.hermetic.keys import OWN
from adapter_build.megatron.programs import unfit_for_megatron
from adapter_build.models.adapter_settings import odd_scale
from adapter_build.models.llama_shape import check_lengths
from adapter_build.records.splits import finished_files
from adapter_build.tuning.pack_settings import incompatible_setting
from adapter_build.workflow.config_schema import did_you_mean

MEGATRON = "nemo-24.07"  # also the environment of its steps, and its image in containers/images.yaml
FORMATS = {"embedded": "hf", MEGATRON: "megatron"}


def check_settings(config: dict[str, Any], lock: dict[str, Any]) -> None:
    """Check a valid configuration against itself, data.lock.yaml's content (`lock`) and the files that it names.

    Raises `BadInput` naming the first key that is wrong.
    """
    for key, path in _files(config):
        if ":" in path and key in ("signing.certificates", "signing.trusted"):
            raise BadInput(f"config: {key}: {path}: a colon separates these paths: rename the file")
        if not Path(path).exists():
            raise BadInput(f"config: {key}: {path}: no such file or folder")
    if (config["base"]["model"] or Path(config["base"]["path"]).name).startswith("-"):
        raise BadInput("config: base.model: a name that begins with - reads as an option: set the base's true name")
    _check_entry("base.name", config["base"]["name"], {} if config["base"]["path"] else lock["bases"])
    if config["data"]["source"] == "huggingface":
        _check_entry("data.dataset", config["data"]["dataset"], lock["datasets"])
    if config["curate"]["min_words"] > config["curate"]["max_words"]:
        raise BadInput("config: curate.min_words is greater than curate.max_words: lower it, or no record can pass")
    if config["curate"]["nodes"] > 1 and config["curate"]["executor"] != "ray":
        raise BadInput("config: curate.nodes: more than one node needs curate.executor: ray")
    _check_adapters(config)
    _check_lengths(config)
    _check_backend(config)


def _files(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and path of every file that the configuration names."""
    data = config["data"]
    if data["source"] == "file":
        yield "data.path", data["path"]
    if data["source"] == "curated":
        yield from (("data.path", path) for path in finished_files(data["path"]))
    if config["base"]["path"]:
        yield "base.path", f"{config['base']['path']}/config.json"
    if config["base"]["nemo"]:
        yield "base.nemo", config["base"]["nemo"]
    for name, adapter in config["adapters"].items():
        yield f"adapters.{name}.prompt", adapter["prompt"]
    if config["signing"]["key"] not in ("", str(OWN)):
        yield "signing.key", config["signing"]["key"]
    for key in ("certificates", "trusted"):
        yield from ((f"signing.{key}", path) for path in config["signing"][key])


def _check_entry(key: str, name: str, entries: dict[str, Any]) -> None:
    if entries and name not in entries:
        raise BadInput(f"config: {key}: data.lock.yaml has no {name!r}{did_you_mean(name, entries)}")


def _check_adapters(config: dict[str, Any]) -> None:
    for name, adapter in config["adapters"].items():
        where = f"config: adapters.{name}"
        if name == config["base"]["name"]:
            raise BadInput(f"{where}: has the base's own name, which a server refuses: rename the adapter")
        if adapter["rank"] > config["deploy"]["max_rank"]:
            raise BadInput(f"{where}.rank: {adapter['rank']} is more than deploy.max_rank: lower it or raise that")
        if fault := odd_scale({"lora_alpha": adapter["alpha"], "r": adapter["rank"]}):
            raise BadInput(f"{where}.alpha: {fault}: set it to once or twice the rank")
        if adapter["global_batch_size"] % (adapter["micro_batch_size"] * config["nodes"]):
            raise BadInput(
                f"{where}.global_batch_size: must be a multiple of micro_batch_size times nodes: set it to one"
            )


def _check_lengths(config: dict[str, Any]) -> None:
    """Check lengths against the positions of a base in base.path; those of a downloaded base are checked later."""
    context, answer = config["deploy"]["embedded"]["context_length"], config["evaluate"]["max_new_tokens"]
    if config["deploy"]["engine"] == "embedded" and answer >= context:
        raise BadInput(
            f"config: evaluate.max_new_tokens is {answer}, which leaves no room for a prompt in "
            f"deploy.embedded.context_length ({context}): lower it or raise that"
        )
    if config["base"]["path"]:
        where = Path(config["base"]["path"]) / "config.json"
        lengths = {
            f"adapters.{name}.sequence_length": adapter["sequence_length"]
            for name, adapter in config["adapters"].items()
        }
        content = given_object(where, "give the base's own")
        try:
            check_lengths(content, where, lengths, config["evaluate"]["max_new_tokens"])
        except BadInput as fault:
            raise BadInput(f"config: {fault}") from None


def _check_backend(config: dict[str, Any]) -> None:
    """Raise `BadInput` naming the first key that the chosen backend does not support.

    embedded     nemo_toolkit's HFAutoModelForCausalLM, here or in this project's own image; reads base.format hf
    nemo-24.07   the tutorial's: megatron_gpt_finetuning.py in NVIDIA's container; reads base.format megatron. Its
                 adapter is a Megatron .nemo, which NIM 1.x serves, and neither NIM 2.x nor vLLM
    """
    backend, base = config["tune"]["backend"], config["base"]
    if base["format"] != FORMATS[backend]:
        raise BadInput(
            f"config: base.format: {base['format']}, but tune.backend {backend} needs {FORMATS[backend]}: set it"
        )
    if backend == MEGATRON:
        _check_megatron(config)
    elif base["nemo"]:
        raise BadInput(
            f"config: base.nemo: a Megatron .nemo needs tune.backend {MEGATRON}: set that, or leave this out"
        )
    for name, adapter in config["adapters"].items():
        fault = unfit_for_megatron(adapter, config["devices"]) if backend == MEGATRON else incompatible_setting(adapter)
        if fault:
            raise BadInput(f"config: adapters.{name}.{fault}")


def _check_megatron(config: dict[str, Any]) -> None:
    """Raise `BadInput` where a Megatron .nemo could not be served, or its container could not run."""
    deploy = config["deploy"]
    if deploy["engine"] != "nim":
        raise BadInput(
            f"config: deploy.engine: {deploy['engine']}, but a Megatron .nemo adapter needs nim: set it, with "
            "deploy.nim.version 1"
        )
    if deploy["nim"]["version"] != 1:
        raise BadInput(
            f"config: deploy.nim.version: {deploy['nim']['version']}, but a Megatron .nemo adapter needs 1: set it, "
            "with an image of that version, or tune.backend to embedded"
        )
    if not config["devices"]:
        raise BadInput(f"config: devices: 0, but tune.backend {MEGATRON} needs a GPU: set how many")
    if config["nodes"] > 1:
        raise BadInput(f"config: nodes: {config['nodes']}, but tune.backend {MEGATRON} needs one: set it to 1")
