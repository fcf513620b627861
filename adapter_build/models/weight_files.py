"""The files that hold a base's weights: model.safetensors, or the shards that model.safetensors.index.json names."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import given_object

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
FETCH = "fetch the base again, whole"


class WeightFiles(NamedTuple):
    """Names of the files of the weights, the index included; of other *.safetensors beside them; tensor → its file."""

    names: list[str]
    others: list[str]
    placed: dict[str, str]


def weight_files(names: Collection[str], index: Path, where: str) -> WeightFiles:
    """Return the weights among the files called `names`; `index` is read if it is one of them.

    Raises `BadInput`, naming the place `where`, if there are none, a shard is missing, or two readers would differ.
    """
    if adapter := [name for name in ADAPTER if name in names]:
        raise BadInput(
            f"{where} has {adapter[0]}, an adapter's file: merge it into the base (PEFT's merge_and_unload), or move "
            "it elsewhere"
        )
    found = sorted(name for name in names if name.endswith(".safetensors"))
    if index.name in names:
        placed = read_index(index)
        shards = sorted(set(placed.values()))
        if missing := [name for name in shards if name not in names]:
            raise BadInput(f"{where} has no {missing[0]}, which {INDEX} names: {FETCH}")
        if SINGLE in names and SINGLE not in shards:
            raise BadInput(
                f"{where} has {SINGLE}, and {INDEX}, which names {shards[0]}: readers differ in which they take: "
                "remove the one that is not the base's"
            )
        return WeightFiles([*shards, INDEX], [name for name in found if name not in shards], placed)
    if SINGLE in names:
        return WeightFiles([SINGLE], [name for name in found if name != SINGLE], {})
    if found:
        raise BadInput(f"{where} has {found[0]}, but no {SINGLE} and no {INDEX}, one of which a base needs: {FETCH}")
    raise BadInput(
        f"{where} has no *.safetensors: expected {SINGLE}, or {INDEX} and what it names; save other formats as that "
        "(transformers' save_pretrained)"
    )


def read_index(path: Path) -> dict[str, str]:
    """Return tensor → file of an index. Raises `BadInput` for a file that is not beside the index."""
    placed = given_object(path, FETCH).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise BadInput(f"{path}: has no weight_map of tensors and their files: {FETCH}")
    for tensor, name in placed.items():
        if not isinstance(name, str) or not name.endswith(".safetensors") or set(name) & set("/\\\0") or name[0] == ".":
            raise BadInput(
                f"{path}: places {tensor} in {name!r}; expected a *.safetensors beside it, by its name alone: {FETCH}"
            )
    return placed
