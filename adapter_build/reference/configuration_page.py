"""docs/configuration.md: every key of the configuration, as schemas/config.schema.json describes it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapter_build import ROOT

HEAD = """# Configuration

Written by `make docs` from [schemas/config.schema.json](../schemas/config.schema.json), which checks every file of
settings before a build begins; a test keeps this page as the schema is. The settings of the default build stand in
`config.yaml`, those of others in `configs/`: overlays, of which a build takes any number, the last one first
(`make CONFIG=configs/fast.yaml`). What an overlay sets replaces that key alone; `null` in one takes the default.

A value is what is written: `1e-3` is a number, `no` a word where a word is wanted. Paths may begin with `~/`; relative
ones begin at the checkout. *Required*: there is no default.
"""
COLUMNS = "| key | value | default | meaning |\n|---|---|---|---|\n"
TYPES = {
    "array": "list", "boolean": "`true` or `false`", "integer": "integer", "number": "number", "object": "mapping",
    "string": "text", "null": "`null`",
}  # fmt: skip
FORMATS = {"path": "path", "path-or-url": "path or URL"}


def page(root: Path = ROOT) -> str:
    """Return the page: a table for each group of keys, then one for the keys that stand alone."""
    schema = json.loads((root / "schemas/config.schema.json").read_text("utf-8"))
    groups = {name: part for name, part in schema["properties"].items() if part.get("type") == "object"}
    alone = {name: part for name, part in schema["properties"].items() if name not in groups}
    parts = [
        f"## `{name}`\n\n{part['description']}\n\n{COLUMNS}{''.join(_rows(name, part))}"
        for name, part in groups.items()
    ]
    rest = "".join(_row(name, part, required=name in schema["required"]) for name, part in alone.items())
    return "\n".join([HEAD, *parts, f"## Keys of the whole build\n\n{COLUMNS}{rest}"])


def _rows(name: str, schema: dict[str, Any]) -> Iterator[str]:
    """Yield a row for each key below `name`, a group of keys by itself before its own."""
    for key, part in _inner(schema):
        full = f"{name}.{key}"
        yield _row(full, part, required=key in schema.get("required", ()))
        yield from _rows(full, part)


def _inner(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from schema.get("properties", {}).items()
    if isinstance(others := schema.get("additionalProperties"), dict):
        yield "<name>", others


def _row(name: str, schema: dict[str, Any], required: bool) -> str:
    default = schema.get("default")
    shown = "*required*" if required else _value(default) if "default" in schema and default != {} else ""
    cells = (f"`{name}`", _kind(schema), shown, schema.get("description", "").replace("<", "&lt;"))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _kind(schema: dict[str, Any]) -> str:
    """Return the values that a key takes, in words: their type, bounds and form."""
    if "enum" in schema:
        *others, last = map(_value, schema["enum"])
        return f"{', '.join(others)} or {last}" if others else last
    if schema.get("type") == "array":
        return ", ".join(["list of " + _kind(schema.get("items", {})).replace(" or ", ", "), *_bounds(schema)])
    kinds = schema.get("type", "string")
    named = " or ".join(TYPES[kind] for kind in (kinds if isinstance(kinds, list) else [kinds]))
    return ", ".join([FORMATS.get(schema.get("format", "")) or named, *_bounds(schema)])


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        yield f"{least} to {most}"
    elif least is not None or most is not None:
        yield f"at least {least}" if most is None else f"at most {most}"
    for key, words in (("exclusiveMinimum", "above"), ("exclusiveMaximum", "below"), ("minItems", "items: at least")):
        if key in schema:
            yield f"{words} {schema[key]}"
    if "minLength" in schema:
        yield "not empty"
    if "uniqueItems" in schema:
        yield "none twice"
    if "pattern" in schema:
        yield f"of the form `{schema['pattern']}`"


def _value(value: Any) -> str:
    if value == "":
        return "empty"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"
