"""Adapters made from one, each with directions of its own, so that an answer says whose it is."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

MARKED = "o_proj.lora_B.weight"  # what a layer's attention puts out, of shape (hidden, rank)


def mark(adapter: Path, folder: Path, names: Sequence[str], strength: float = 20.0) -> dict[str, Path]:
    """Write an adapter per name into `folder`, each as the staged `adapter` but for its directions; name → its folder.

    The directions, which follow from the name's place, are added to every layer's `MARKED`, each `strength` times as
    long as what it is added to.
    """
    tensors = load_file(adapter / "adapter_model.safetensors")
    marked = {}
    for number, name in enumerate(names):
        marked[name] = folder / name
        shutil.copytree(adapter, marked[name])
        random = np.random.default_rng(number)
        changed = dict(tensors)
        for where in sorted(key for key in tensors if key.endswith(MARKED)):
            direction = random.standard_normal(tensors[where].shape, dtype=np.float32)
            direction *= strength * np.linalg.norm(tensors[where]) / np.linalg.norm(direction)
            changed[where] = (tensors[where] + direction).astype(tensors[where].dtype)
        save_file(changed, str(marked[name] / "adapter_model.safetensors"), metadata={"format": "pt"})
    return marked
