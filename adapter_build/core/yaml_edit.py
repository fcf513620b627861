"""Edit values in a YAML file that people write: comments, order and layout stay."""

# pyright: basic
# PyYAML's nodes have no types.

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import yaml


def with_values(text: str, where: Sequence[str], values: dict[str, Any]) -> str:
    """Return the text with `values` in the mapping that the keys `where` lead to: replaced in place, or added."""
    entry = yaml.compose(text)
    for name in where:
        entry = next(value for key, value in entry.value if key.value == name)
    present = {key.value: value for key, value in entry.value}
    edits = []
    for key, value in values.items():
        if key in present:
            start, end = present[key].start_mark.index, present[key].end_mark.index
            # A key with nothing behind its colon has an empty value right there.
            edits.append((start, end, spelled(value) if start < end else f" {spelled(value)}"))
    absent = {key: value for key, value in values.items() if key not in present}
    if absent:
        first = entry.value[0][0].start_mark
        between = ", " if entry.flow_style else "\n" + " " * first.column
        added = "".join(f"{key}: {spelled(value)}{between}" for key, value in absent.items())
        edits.append((first.index, first.index, added))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def spelled(value: Any) -> str:
    """Return a scalar as YAML that reads back as the same value: JSON is YAML; quotes only where they are needed."""
    if isinstance(value, str):
        with contextlib.suppress(yaml.YAMLError):
            if yaml.safe_load(f"[{value}]") == [value]:
                return value
    return json.dumps(value, ensure_ascii=False)


def show_changes(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Print every value that changes, as old → new."""
    for key, value in new.items():
        if old.get(key) != value:
            print(f"  {key}: {spelled(old.get(key))} → {spelled(value)}", flush=True)
