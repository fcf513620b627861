"""Adapters made from one, each with a direction of its own, so that an answer says whose it is."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

LAST = re.compile(r"\.layers\.(\d+)\.self_attn\.o_proj\.lora_B\.weight$")


def mark(adapter: Path, folder: Path, names: Sequence[str], strength: float = 2.0) -> dict[str, Path]:
    """Write an adapter per name into `folder`, each as the staged `adapter` but for its direction; name → its folder.

    The direction, one per name's place, is added to what the last layer's attention puts out: to `lora_B` of its
    `o_proj`, of shape (hidden, rank), `strength` times as long as that is.
    """
    tensors = load_file(adapter / "adapter_model.safetensors")
    layers = {int(found[1]): name for name in tensors if (found := LAST.search(name))}
    where = layers[max(layers)]
    marked = {}
    for number, name in enumerate(names):
        marked[name] = folder / name
        shutil.copytree(adapter, marked[name])
        direction = np.random.default_rng(number).standard_normal(tensors[where].shape).astype(np.float32)
        length = strength * np.linalg.norm(tensors[where]) / np.linalg.norm(direction)
        changed = {**tensors, where: (tensors[where] + length * direction).astype(tensors[where].dtype)}
        save_file(changed, str(marked[name] / "adapter_model.safetensors"), metadata={"format": "pt"})
    return marked
