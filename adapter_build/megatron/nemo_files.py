"""Megatron's .nemo files, as NeMo 24.07 reads and writes them: told from this project's own by their content.

A tar with model_config.yaml, which has no `format` (this project's own have) and describes the network, and weights: a
base has model_weights.ckpt, or a folder model_weights/ or one per rank; a LoRA adapter that was tuned without tensor or
pipeline parallelism has model_weights.ckpt alone, and a section `peft` in its configuration.
"""

import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from adapter_build.core.atomic_file import replacing
from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import open_regular
from adapter_build.models.nemo_archive import CONFIG, read_member

WEIGHTS = "model_weights.ckpt"
OF_A_BASE = re.compile(r"((mp|tp)_rank_\w+/)?model_weights(\.ckpt$|/)")
END_OF_TAR = 512  # bytes, all 0, after the last file
NETWORK = ("num_layers", "hidden_size", "num_attention_heads")


def read_model(path: Path) -> dict[str, Any]:
    """Return the model_config.yaml of a Megatron .nemo. Raises `BadInput` for any other file."""
    try:
        config = yaml.safe_load(read_member(path, CONFIG))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: its {CONFIG} is not YAML ({error})") from None
    if isinstance(config, dict) and config.get("format"):
        raise BadInput(
            f"{path}: its {CONFIG} says format {config['format']!r}, which tune.backend embedded reads, and NeMo 24.07 "
            "does not: set base.format to megatron and convert again"
        )
    missing = [key for key in NETWORK if not isinstance(config, dict) or not isinstance(config.get(key), int)]
    if missing:
        raise BadInput(f"{path}: its {CONFIG} has no {missing[0]}, so it is no Megatron .nemo: give another base.nemo")
    return config


def check_base(path: Path) -> dict[str, Any]:
    """Return a base's configuration. Raises `BadInput` for an adapter, or a file without weights."""
    config = read_model(path)
    if isinstance(config.get("peft"), dict) and config["peft"].get("peft_scheme"):
        raise BadInput(f"{path}: an adapter's .nemo, not a base's: give the base's as base.nemo")
    if not any(OF_A_BASE.match(name) for name in members(path)):
        raise BadInput(f"{path}: has no model_weights, so it is no whole .nemo: fetch or convert it again")
    return config


def check_adapter(path: Path, rank: int, alpha: float, layers: Iterable[str]) -> dict[str, Any]:
    """Return a LoRA adapter's configuration. Raises `BadInput` unless it has this rank, alpha and layers."""
    config = read_model(path)
    peft = config.get("peft")
    lora = peft.get("lora_tuning") if isinstance(peft, dict) and peft.get("peft_scheme") == "lora" else None
    if not isinstance(lora, dict):
        raise BadInput(f"{path}: its {CONFIG} has no section peft of a LoRA adapter: tune it again")
    wanted = {"adapter_dim": rank, "alpha": alpha, "target_modules": list(layers), "variant": "nemo"}
    for key, value in wanted.items():
        if lora.get(key) != value:
            raise BadInput(f"{path}: peft.lora_tuning.{key} is {lora.get(key)!r}, not {value!r}: tune it again")
    if WEIGHTS not in members(path):
        raise BadInput(f"{path}: has no {WEIGHTS}, so it is no whole adapter: tune it again")
    return config


def members(path: Path) -> list[str]:
    """Return the names of the files in a .nemo, without the `./` that NeMo writes before them.

    Raises `BadInput` for a truncated file, whose beginning tarfile would read without an error.
    """
    with open_regular(path, links=True) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        found = [entry.name.removeprefix("./") for entry in archive if entry.isfile()]
        file.seek(archive.offset)
        if file.read(END_OF_TAR) != bytes(END_OF_TAR):
            raise BadInput(f"{path}: not a whole .nemo, it ends in the middle: fetch or make it again")
    return found


def repack(source: Path, target: Path) -> None:
    """Write a .nemo again, its files sorted and without times and owners, so that the same files give the same bytes.

    Names stay as NeMo wrote them. The target appears whole or not at all. Raises `BadInput` for a link, or a file
    outside of the archive.
    """
    try:
        with (
            replacing(target) as part,
            open_regular(source, links=True) as opened,
            tarfile.open(fileobj=opened, mode="r:") as old,
            tarfile.open(part, "w:", format=tarfile.PAX_FORMAT) as new,
        ):
            for entry in sorted((entry for entry in old if not entry.isdir()), key=lambda entry: entry.name):
                outside = entry.name.startswith("/") or ".." in Path(entry.name).parts
                if not entry.isfile() or entry.issparse() or outside:
                    raise BadInput(
                        f"{source}: {entry.name} is a link, sparse, or lies outside of it: not a .nemo that NeMo wrote"
                    )
                fresh = tarfile.TarInfo(entry.name)  # its time, owner and group are 0
                fresh.size, fresh.mode = entry.size, 0o644
                new.addfile(fresh, old.extractfile(entry))
    except (tarfile.TarError, OSError) as error:
        raise BadInput(f"{source}: not a whole .nemo ({error}): make it again") from None
