"""The losses of a run of megatron_gpt_finetuning.py, from the TensorBoard file that NeMo's exp_manager leaves.

Steps are counted as the file counts them. Training losses come every 10 steps (trainer.log_every_n_steps).
"""

import math
import struct
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.megatron.event_file import scalars

NAMES = {"reduced_train_loss": "train_loss", "validation_loss": "validation_loss", "lr": "learning_rate"}


def read_losses(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl in the order of their steps. Raises `BadInput` where there are no whole ones."""
    files = sorted(folder.rglob("events.out.tfevents.*"))
    if not files:
        raise BadInput(f"{folder}: the run left no TensorBoard file to read its losses from: see its log")
    rows: dict[int, dict[str, Any]] = {}
    for file in files:
        try:
            for step, tag, value in scalars(file):
                if name := NAMES.get(tag):
                    rows.setdefault(step, {"step": step})[name] = value
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            raise BadInput(f"{file.name}: not a whole TensorBoard file ({error}): see the run's log") from None
    found = [rows[step] for step in sorted(rows)]
    if not any("validation_loss" in row for row in found):
        raise BadInput(f"{folder}: the run logged no validation_loss: it ended before its first validation")
    for row in found:
        for name in ("train_loss", "validation_loss"):
            if not math.isfinite(row.get(name, 0.0)):
                raise BadInput(f"step {row['step']}: the {name} is {row[name]}: lower adapters.<name>.learning_rate")
    return found
