"""Validation of requests by schemas/openapi.json, with a client's mistake in one sentence.

It covers as much of JSON Schema as that file uses. A request costs a tenth of a millisecond, and jsonschema's sentences
are made for developers.
"""

import functools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from adapter_build import ROOT

FILE = ROOT / "schemas" / "openapi.json"
SHOWN = 20  # characters of a value
Schema = Mapping[str, Any]
TYPES = {"boolean": bool, "integer": int, "string": str, "array": list, "object": dict, "null": type(None)}


@functools.cache
def description() -> dict[str, Any]:
    """Return the file's content: paths, and the schemas of their bodies."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def paths() -> frozenset[str]:
    """Return every path that is served."""
    return frozenset(description()["paths"])


@functools.cache
def schemas() -> dict[str, Schema]:
    """Return path → schema of the body that is posted to it."""
    posted = {path: methods["post"] for path, methods in description()["paths"].items() if "post" in methods}
    return {path: post["requestBody"]["content"]["application/json"]["schema"] for path, post in posted.items()}


def fault(value: Any, schema: Schema, where: str = "") -> str | None:
    """Return the fault of a value from JSON, or None. `where` is the value's path in the body."""
    if "$ref" in schema:
        return fault(value, description()["components"]["schemas"][schema["$ref"].rpartition("/")[2]], where)
    if "anyOf" in schema:
        found = [fault(value, one, where) for one in schema["anyOf"]]
        return None if None in found else _of_several(value, schema["anyOf"], found, where)
    kind = _kind(value, schema["type"])
    if not kind or ("enum" in schema and value not in schema["enum"]):
        return _said(value, schema, where)
    if kind == "object":
        return _in_object(value, schema, where)
    if kind == "array":
        if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
            return f"{where} has {len(value)} parts: it must be {_described(schema)}"
        return _in_array(value, schema["items"], where)
    if kind == "string":
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
            return f"{where} has {len(value)} characters: it must be {_described(schema)}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return f"{where} is {shown(value)}: it has a character that no name has"
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return f"{where} holds half of a surrogate pair, which is no character"
    elif kind in ("integer", "number"):
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        if not low <= value <= high or value <= schema.get("exclusiveMinimum", -math.inf):  # so is NaN
            return _said(value, schema, where)
    return None


def _kind(value: Any, types: str | list[str]) -> str | None:
    """Return the one of a schema's types that a value has; true is no number, and 1.0 no integer."""
    for kind in [types] if isinstance(types, str) else types:
        if type(value) is TYPES.get(kind) or (kind == "number" and type(value) in (int, float)):
            return kind
    return None


def _in_object(value: dict[str, Any], schema: Schema, where: str) -> str | None:
    if missing := [name for name in schema.get("required", ()) if name not in value]:
        return f"{f'{where} has' if where else 'it has'} no `{missing[0]}`"
    if len(value) > schema.get("maxProperties", math.inf):
        return f"{where} has {len(value)} entries: at most {schema['maxProperties']} are taken"
    known, others = schema.get("properties", {}), schema["additionalProperties"]
    for name, part in value.items():
        path = f"{where}.{name}"[:64] if where else name
        if name in known:
            wrong = fault(part, known[name], path)
        elif others is False:
            wrong = f"no field {json.dumps(name)[:64]} is known here{f' in {where}' if where else ''}: leave it out"
        elif not re.search(schema["propertyNames"]["pattern"], name):
            wrong = f"{where} has an entry {json.dumps(name)[:SHOWN]}, which is no name for one"
        else:
            wrong = fault(part, others, path)
        if wrong:
            return wrong
    return None


def _in_array(value: list[Any], schema: Schema, where: str) -> str | None:
    if schema.get("type") == "integer":  # tokens, by the thousand
        low, high = schema["minimum"], schema["maximum"]
        odd = next((part for part in value if type(part) is not int or not low <= part <= high), None)
        return None if odd is None and None not in value else _said(odd, schema, f"a part of {where}")
    found = (fault(part, schema, f"{where}[{number}]") for number, part in enumerate(value))
    return next((wrong for wrong in found if wrong), None)


def _of_several(value: Any, several: list[Schema], found: list[Any], where: str) -> str:
    """Return the fault by that one of several schemas which is for values of this type."""
    inner = next((part for part in value), None) if isinstance(value, list) else None
    for one, wrong in zip(several, found, strict=True):
        if "type" in one and _kind(value, one["type"]):
            items = one.get("items", {})
            if inner is None or "type" not in items or _kind(inner, items["type"]):
                return wrong
    return f"{where} is {shown(value)}: it must be {' or '.join(_described(one) for one in several)}"


def _said(value: Any, schema: Schema, where: str) -> str:
    if "description" in schema and ("enum" in schema or schema["type"] == "null"):
        return f"{where}: {schema['description']}"
    return f"{where or 'the body'} is {shown(value)}: it must be {_described(schema)}"


def shown(value: Any) -> str:
    """Return the beginning of a value, as JSON."""
    return json.dumps(value)[:SHOWN]


def _described(schema: Schema) -> str:
    """Describe a schema's values, for a sentence."""
    types = schema.get("type", "object")
    kind = next(kind for kind in ([types] if isinstance(types, str) else types) if kind != "null" or types == "null")
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(one) for one in schema["enum"] if one is not None)
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    bounds = f" from {low:g} to {high}" if low is not None and abs(low) < 1e9 else ""
    long = f" of {schema.get('minLength', 0)} to {schema['maxLength']} characters" if "maxLength" in schema else ""
    many = f" of {schema.get('minItems', 0)} to {schema['maxItems']} parts" if "maxItems" in schema else ""
    return {
        "integer": f"a whole number{bounds}", "number": f"a number{bounds}", "string": f"a text{long}",
        "array": f"a list{many}", "boolean": "true or false", "object": "an object", "null": "null",
    }[kind]  # fmt: skip
