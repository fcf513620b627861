"""Summaries for the report: counts of the ledger, losses, tuned settings, verdicts on scores, example predictions."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl
from adapter_build.models.nemo_archive import CONFIG, read_member
from adapter_build.records.splits import SPLITS

EXAMPLE_IDS = 5  # of the records that one filter dropped
EXAMPLES = 20  # predictions shown
EXCERPT = 320  # characters of a prompt shown
OUTCOME = ("format", "step", "validation_loss", "base_sha256")  # keys of our checkpoints that are no settings
# Our name of a setting → its path in a checkpoint of NeMo 24.07.
MEGATRON = {
    "rank": "peft.lora_tuning.adapter_dim",
    "alpha": "peft.lora_tuning.alpha",
    "dropout": "peft.lora_tuning.adapter_dropout",
    "target_modules": "peft.lora_tuning.target_modules",
    "learning_rate": "optim.lr",
    "micro_batch_size": "micro_batch_size",
    "global_batch_size": "global_batch_size",
    "sequence_length": "data.train_ds.max_seq_length",
    "seed": "seed",
}


def data_flow(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count the ledger's rows: `raw` = `kept` + `dropped`, and so in each of `stages`; `filters` sum to `dropped`.

    A stage is {name, taken, dropped, left}: first all records into splits, then each split through curation.
    Raises `BadInput` if a row is neither kept nor dropped, or dropped by no filter.
    """
    counts = Counter((row["split"], row["outcome"]) for row in rows)
    for row in rows:
        kept, named = row["outcome"] == "kept", row["filter"] is not None
        known = row["outcome"] in ("kept", "dropped") and row["split"] in ((*SPLITS, None), SPLITS)[kept]
        if not known or kept == named:
            raise BadInput(
                f"ledger: record {row['record_id']} is {row['outcome']} in split {row['split']} by filter "
                f"{row['filter']}: a record is kept in a split or dropped by a filter: make it anew with `make`"
            )
    unusable = counts[None, "dropped"]
    stages = [{"name": "raw", "taken": len(rows), "dropped": unusable, "left": len(rows) - unusable}]
    for split in SPLITS:
        kept, dropped = counts[split, "kept"], counts[split, "dropped"]
        stages.append({"name": split, "taken": kept + dropped, "dropped": dropped, "left": kept})
    kept = sum(stage["left"] for stage in stages[1:])
    return {
        "raw": len(rows),
        "usable": len(rows) - unusable,
        "kept": kept,
        "dropped": len(rows) - kept,
        "stages": stages,
        "filters": _filters(row for row in rows if row["outcome"] == "dropped"),
    }


def _filters(dropped: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group dropped records by filter, field and bound: how many, what was measured, some ids; the largest first."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in dropped:
        groups[tuple(str(row[key] or "") for key in ("step", "filter", "field", "bound"))].append(row)
    found = []
    for (step, name, field, bound), rows in groups.items():
        measured = [row["measured"] for row in rows if _finite(row["measured"])]
        summary = (min(measured), statistics.median(measured), max(measured)) if measured else None
        shown = [
            {
                "id": row["record_id"],
                "measured": f"{row['measured']:g}" if _finite(row["measured"]) else "unknown",
                "duplicate_of": row["duplicate_of"],
            }
            for row in rows[:EXAMPLE_IDS]
        ]
        found.append(
            {
                "step": step,
                "filter": name,
                "field": field,
                "bound": bound,
                "count": len(rows),
                "measured": summary and tuple(f"{value:g}" for value in summary),
                "unknown": len(rows) - len(measured),
                "shown": shown,
            }
        )
    return sorted(found, key=lambda group: (-group["count"], group["step"], group["filter"], group["field"]))


def loss(metrics: Path) -> dict[str, Any]:
    """Return the losses: `train` and `validation` as (step, loss); last `step`, all `tokens`, `best` validation.

    Losses that are not finite are counted in `broken`, and in no curve.
    """
    curves: dict[str, list[tuple[float, float]]] = {"train": [], "validation": []}
    steps, tokens, broken = 0, 0, 0
    for row in read_jsonl(metrics):
        steps, tokens = max(steps, row["step"]), tokens + row.get("tokens", 0)
        for name, curve in curves.items():
            if (key := f"{name}_loss") not in row:
                continue
            if _finite(row[key]):
                curve.append((row["step"], row[key]))
            else:
                broken += 1
    best = min(curves["validation"], key=lambda point: (point[1], point[0]), default=None)
    return {**curves, "step": steps, "tokens": tokens, "best": best, "broken": broken}


def tuned_settings(checkpoint: Path) -> dict[str, Any]:
    """Return the settings that a checkpoint was tuned with, by their names in config.yaml; a configuration may differ.

    Raises `BadInput` for a file that is no checkpoint of a LoRA adapter.
    """
    try:
        config = yaml.safe_load(read_member(checkpoint, CONFIG))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{checkpoint}: its {CONFIG} is not YAML ({error}): tune the adapter again") from None
    if isinstance(config, dict) and config.get("format") == "hf-lora":
        return {key: value for key, value in config.items() if key not in OUTCOME}
    found = {name: _at(config, path) for name, path in MEGATRON.items()}
    if found["rank"] is None:
        raise BadInput(f"{checkpoint}: its {CONFIG} describes no LoRA adapter: tune the adapter again")
    return {name: value for name, value in found.items() if value is not None}


def _at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def verdict(difference: dict[str, float]) -> dict[str, str]:
    """Judge a paired difference by its 95 % interval: `better`, `worse` or `unclear`, with a text."""
    if difference["low"] > 0:
        return {"kind": "better", "text": "better than its base: the whole interval lies above zero"}
    if difference["high"] < 0:
        return {"kind": "worse", "text": "worse than its base: the whole interval lies below zero"}
    return {"kind": "unclear", "text": "not shown to differ from its base: the interval holds zero"}


def examples(predictions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the first predictions, each with an excerpt of the part of its prompt that the others do not share.

    `before` and `after` are the shared start and end of the prompts: the instruction of the jq program.
    """
    prompts = [row["input"] for row in predictions]
    before, after = ("", "") if len(prompts) < 2 else _shared(prompts)
    shown = []
    for row in predictions[:EXAMPLES]:
        own = " ".join(row["input"][len(before) : len(row["input"]) - len(after)].split())
        excerpt = own if len(own) <= EXCERPT else own[:EXCERPT].rpartition(" ")[0] + " …"
        answers = {key: " ".join(row[key].split()) for key in ("reference", "base", "adapter")}
        shown.append({"id": row["id"] or "", "excerpt": excerpt, **answers})
    return {"before": before.strip(), "after": after.strip(), "shown": shown, "total": len(predictions)}


def _shared(prompts: Sequence[str]) -> tuple[str, str]:
    """Return the common start and end of the prompts, cut at white space so that no word is divided."""
    before = _common(prompts)
    before = before[: len(before) - len(before.split()[-1])] if before.split() and not before[-1].isspace() else before
    rest = [prompt[len(before) :][::-1] for prompt in prompts]
    after = _common(rest)[::-1]
    if after and not after[0].isspace():
        after = after[len(after.split()[0]) :]
    return before, after


def _common(texts: Sequence[str]) -> str:
    """Return the common prefix of all texts, which is that of the least and the greatest."""
    least, greatest = min(texts), max(texts)
    differ = (place for place, pair in enumerate(zip(least, greatest, strict=False)) if pair[0] != pair[1])
    return least[: next(differ, min(len(least), len(greatest)))]


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
