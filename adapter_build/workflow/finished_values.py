"""Checked values as steps are given them: whole numbers without a point, no negative zero, paths expanded."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from adapter_build.core.config_paths import CONTROL, expanded, expanded_url
from adapter_build.core.faults import BadInput
from adapter_build.workflow.settings_file import kind

PATHS = {"path": expanded, "path-or-url": expanded_url}  # formats of the schema


def finish(config: Any, schema: Mapping[str, Any]) -> None:
    """Write each value of a valid configuration in its place in one way. Raises `BadInput` naming the key."""
    for holder, key, inner, where in leaves(config, schema):
        holder[key] = _finished(holder[key], inner, f"config: {where}")


def leaves(value: Any, schema: Mapping[str, Any], where: str = "") -> Iterator[tuple[Any, Any, Mapping[str, Any], str]]:
    """Yield each value's holder, its key in that, its schema and its dotted name."""
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties") or {}
        inside = [(key, known.get(key, others), f"{where}.{key}" if where else key) for key in value]
    else:
        inside = [(index, schema.get("items", {}), where) for index in range(len(value))]
    for key, inner, name in inside:
        if isinstance(value[key], dict | list):
            yield from leaves(value[key], inner, name)
        else:
            yield value, key, inner, name


def _finished(value: Any, schema: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadInput(f"{where}: {value} is no number that can be used: write one with digits")
        return int(value) if kind(schema) == "integer" else value or 0.0
    if isinstance(value, str) and schema.get("format") in PATHS and value:
        return PATHS[schema["format"]](where, value)
    if isinstance(value, str) and CONTROL.search(value):
        raise BadInput(f"{where}: {value!r}: has a line break or another control character: remove it")
    return value
