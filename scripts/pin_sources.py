"""Pin the datasets of data.lock.yaml: fetch each that has no sha256 once, show old → new, and write it there.

Only the values change: comments, order and layout of the file stay. Needs the network; a token comes from HF_TOKEN.
"""

import argparse
import contextlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from data_lock import Dataset, download, file_sha256, read_datasets, what
from faults import BadInput, run
from hub import first_line, quieten_hub
from raw_records import SCHEMA, read_raw_records

PINNED = ("revision", "sha256", "bytes", "records", "licence", "checked")


def main() -> None:
    """Pin the datasets named, by default all that have no sha256."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=Path("data.lock.yaml"), help="the lock to complete")
    parser.add_argument("--dataset", nargs="+", default=[], help="pin these, even if they have a sha256")
    arguments = parser.parse_args()
    datasets = read_datasets(arguments.lock)
    for name in arguments.dataset:
        if name not in datasets:
            raise BadInput(f"{arguments.lock} has no dataset {name} (it has: {', '.join(datasets) or 'none'})")
    chosen = [datasets[name] for name in arguments.dataset] or [d for d in datasets.values() if not d.sha256]
    if not chosen:
        print(f"{arguments.lock}: every dataset is pinned")
    for dataset in chosen:
        print(f"fetching {what(dataset)} …", flush=True)
        new = pinned(dataset)
        for key in PINNED:
            old_value, new_value = getattr(dataset, key), getattr(new, key)
            if old_value != new_value:
                print(f"  {key}: {_spelled(old_value)} → {_spelled(new_value)}")
        text = arguments.lock.read_text(encoding="utf-8")
        _write(arguments.lock, with_values(text, new.name, {key: getattr(new, key) for key in PINNED}))


def pinned(dataset: Dataset) -> Dataset:
    """Return the dataset with what the hub has now. Raises `BadInput` if it cannot be fetched or is not raw records."""
    revision, licence = _repository(dataset)
    resolved = replace(dataset, revision=revision)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = download(resolved, Path(folder))
        return replace(
            resolved,
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
            records=sum(1 for _ in read_raw_records(path, Path(__file__).parents[1] / SCHEMA)),
            licence=licence or dataset.licence,
            checked=True,
        )


def _repository(dataset: Dataset) -> tuple[str, str | None]:
    """Return the commit that the revision (a branch, a tag, or none) stands for, and the licence on the data's card."""
    quieten_hub()
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi(token=os.environ.get("HF_TOKEN") or None).dataset_info(dataset.repo, revision=dataset.revision)
    except (OSError, HTTPError, HFValidationError) as error:
        raise BadInput(f"{what(dataset)}: cannot be fetched: {first_line(error)}") from None
    licence = info.card_data.get("license") if info.card_data else None
    return str(info.sha), ", ".join(licence) if isinstance(licence, list) else licence


def with_values(text: str, name: str, values: dict[str, Any]) -> str:
    """Return the lock's text with the values of one dataset replaced where they stand, or added to its entry."""
    entry = _child(_child(yaml.compose(text), "datasets"), name)
    present = {key.value: value for key, value in entry.value}
    edits = []
    for key, value in values.items():
        if key in present:
            start, end = present[key].start_mark.index, present[key].end_mark.index
            # A key with nothing behind its colon has an empty value right there.
            edits.append((start, end, _spelled(value) if start < end else f" {_spelled(value)}"))
    absent = {key: value for key, value in values.items() if key not in present}
    if absent:
        first = entry.value[0][0].start_mark
        between = ", " if entry.flow_style else "\n" + " " * first.column
        added = "".join(f"{key}: {_spelled(value)}{between}" for key, value in absent.items())
        edits.append((first.index, first.index, added))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _child(node: yaml.MappingNode, name: str) -> yaml.MappingNode:
    return next(value for key, value in node.value if key.value == name)


def _spelled(value: Any) -> str:
    """Spell a scalar so that YAML reads it back as it is: JSON is YAML; quotes only where they are needed."""
    if isinstance(value, str):
        with contextlib.suppress(yaml.YAMLError):
            if yaml.safe_load(f"[{value}]") == [value]:
                return value
    return json.dumps(value, ensure_ascii=False)


def _write(lock: Path, text: str) -> None:
    part = Path(f"{lock}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(lock)


if __name__ == "__main__":
    run(main)
