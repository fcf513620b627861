"""The raw records that an adapter learned from and the fate of the others, from the ledger and the training order."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl
from adapter_build.models.nemo_archive import CONFIG, read_member
from adapter_build.records.ledger import query
from adapter_build.records.prompts import training_order
from adapter_build.records.splits import SPLITS

LEDGER = "curated/ledger.parquet"
USED = pa.schema([("record_id", pa.string()), ("role", pa.string()), ("times", pa.int64())])


def records(results: Path, adapter: str) -> list[dict[str, Any]]:
    """Return a row per raw record that an adapter used, in the raw order.

    `role` is train, validation (it chose the checkpoint) or test (it measured the adapter). `times` counts how often
    the optimizer had seen a training record when the checkpoint was taken; 0 before its first turn.
    """
    checkpoint = results / "checkpoints" / f"{adapter}.nemo"
    if not checkpoint.is_file():
        known = ", ".join(sorted(path.stem for path in checkpoint.parent.glob("*.nemo"))) or "none"
        raise BadInput(f"{checkpoint}: no such adapter (there are: {known})")
    settings = yaml.safe_load(read_member(checkpoint, CONFIG))
    if settings.get("format") != "hf-lora":
        raise BadInput(f"{checkpoint}: tuned by NeMo 24.07, in an order of its own: see {results}/prompts/{adapter}/")
    prompts = {split: [str(row["id"]) for row in read_jsonl(_prompts(results, adapter, split))] for split in SPLITS}
    consumed = settings["step"] * settings["global_batch_size"]
    order = training_order(
        len(prompts["train"]), settings["max_steps"] * settings["global_batch_size"], settings["seed"]
    )
    times = Counter(prompts["train"][index] for index in order[:consumed])
    limit = settings["validation_limit"] or None
    used = {
        **{record: ("train", times[record]) for record in prompts["train"]},
        **dict.fromkeys(prompts["val"][:limit], ("validation", 0)),
        **dict.fromkeys(prompts["test"], ("test", 0)),
    }
    rows = [{"record_id": record, "role": role, "times": count} for record, (role, count) in used.items()]
    return query(
        "SELECT record_id, role, times FROM ledger JOIN used USING (record_id) WHERE outcome = 'kept'"
        " ORDER BY position",
        ledger=results / LEDGER,
        used=pa.Table.from_pylist(rows, schema=USED),
    )


def _prompts(results: Path, adapter: str, split: str) -> Path:
    return results / "prompts" / adapter / f"{split}.jsonl"


def why(results: Path, record: str) -> str:
    """Return one sentence on the fate of a raw record. Raises `BadInput` for an id that the ledger does not have."""
    rows = query("FROM ledger WHERE record_id = ?", (record,), ledger=results / LEDGER)
    if not rows:
        count = query("SELECT count(*) AS rows FROM ledger", ledger=results / LEDGER)[0]["rows"]
        raise BadInput(f"no raw record has the id {record!r} (there are {count:,})")
    return f"record {record}, number {rows[0]['position'] + 1} of the raw data: {fate(rows[0])}"


def fate(row: dict[str, Any]) -> str:
    """Return the fate of a ledger's record in words: kept, or dropped by a filter on a measured value."""
    if row["outcome"] == "kept":
        return f"kept, in the split {row['split']}"
    split = f" from the split {row['split']}" if row["split"] else ""
    measured = "was unknown" if row["measured"] is None else f"was {row['measured']:g}"
    asked = f", {row['bound']} was asked for" if row["bound"] else ""
    if str(row["step"]).startswith("acquire_"):
        what = f"{row['field']} must be {row['bound']}"
    else:
        what = f"{row['field']} {measured}{asked}" if row["field"] else "it could not be used"
    copied = f", a duplicate of {row['duplicate_of']}" if row["duplicate_of"] else ""
    return f"dropped{split} by {row['step']}, filter {row['filter']}: {what}{copied}"
