"""The configuration's schema: a configuration is validated by it, its defaults are filled in, its values normalized.

Values come out as steps are given them: whole numbers without a point, no negative zero, paths expanded. A validation
error names the key, and the text to write in place of what stands there.
"""

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError, validators

from adapter_build import ROOT
from adapter_build.core.config_paths import CONTROL, expanded, expanded_url
from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import is_object
from adapter_build.workflow.settings_file import kind, number

SCHEMA = json.loads((ROOT / "schemas" / "config.schema.json").read_text(encoding="utf-8"))
PATHS = {"path": expanded, "path-or-url": expanded_url}  # by `format` in the schema
_KINDS = {"object": "names and values", "array": "a list", "boolean": "true or false"}


def fill(config: dict[str, Any], schema: dict[str, Any]) -> None:
    """Fill in the defaults of a schema in place, values in their final form. Raises `BadInput` naming the key."""
    _unset(config, schema, ())
    found: Iterator[ValidationError] = _filling(schema).iter_errors(config)
    errors = sorted(found, key=lambda error: [str(part) for part in error.path])
    if errors:
        raise BadInput(" ".join(_explain(errors[0]).split()))
    finish(config, schema)


def _unset(config: dict[Any, Any], schema: dict[str, Any], where: tuple[str, ...]) -> None:
    """Remove the keys that are null. Raises `BadInput` for a name that is no text, and where null removes nothing."""
    for key, value in list(config.items()):
        name = ".".join([*where, str(key)])
        if not isinstance(key, str):
            raise BadInput(f"config: {name}: a name is text, found {key!r}: write it in quotes")
        known = schema.get("properties", {})
        inner = known.get(key, schema.get("additionalProperties") or {})
        if value is None and key in known:
            del config[key]
        elif value is None and inner:
            others = [entry for entry, other in config.items() if other is not None]
            close = did_you_mean(key, others)
            raise BadInput(f"config: {name}: null drops an entry of an earlier file, and none has this name{close}")
        elif is_object(value):
            _unset(value, inner, (*where, key))


def _filling(schema: dict[str, Any]) -> Any:
    """Return a validator that also fills in defaults, as the jsonschema manual shows."""
    check_properties = Draft202012Validator.VALIDATORS["properties"]

    def properties(validator: Any, known: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if validator.is_type(instance, "object"):
            for name, subschema in known.items():
                if "default" in subschema:
                    instance.setdefault(name, json.loads(json.dumps(subschema["default"])))
        yield from check_properties(validator, known, instance, schema)

    extend: Any = vars(validators)["extend"]  # has no types
    return extend(Draft202012Validator, {"properties": properties})(schema)


def finish(config: Any, schema: Mapping[str, Any]) -> None:
    """Normalize each value of a valid configuration in place. Raises `BadInput` naming the key."""
    for holder, key, inner, where in leaves(config, schema):
        holder[key] = _finished(holder[key], inner, f"config: {where}")


def leaves(value: Any, schema: Mapping[str, Any], where: str = "") -> Iterator[tuple[Any, Any, Mapping[str, Any], str]]:
    """Yield of each value its container, its key in that, its schema and its dotted name."""
    inside: list[tuple[Any, Mapping[str, Any], str]]
    if is_object(value):
        known: dict[str, Any] = schema.get("properties", {})
        others: dict[str, Any] = schema.get("additionalProperties") or {}
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
            raise BadInput(f"{where}: {value} is not a finite number: write one in digits")
        return int(value) if kind(schema) == "integer" else value or 0.0
    if isinstance(value, str) and schema.get("format") in PATHS and value:
        return PATHS[schema["format"]](where, value)
    if isinstance(value, str) and CONTROL.search(value):
        raise BadInput(f"{where}: {value!r}: has a line break or another control character: remove it")
    return value


def _explain(error: ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path))
    prefix = f"config: {where}: " if where else "config: "
    value: Any = error.instance
    schema = cast(dict[str, Any], error.schema)
    if error.validator == "additionalProperties":
        known = schema["properties"]
        unknown = next(key for key in value if key not in known)
        return f"{prefix}unknown key {unknown!r}{did_you_mean(str(unknown), known)}"
    if error.validator == "type":
        wanted = kind(schema)
        return f"{prefix}expected {_KINDS.get(wanted, wanted)}, {_found(error)}"
    if error.validator == "enum":
        choices = ", ".join(map(str, schema["enum"]))
        if not isinstance(value, str) or kind(schema) == "integer":
            return f"{prefix}expected one of {choices}, {_found(error)}"
        close = did_you_mean(value, choices.split(", ")).partition(" (known: ")[0]
        return f"{prefix}{value!r} is none of: {choices}{close}"
    if error.validator == "required" and where.startswith("adapters."):
        return f"{prefix}an adapter that no earlier file has needs a prompt: set it, or name another"
    if error.validator == "minProperties":
        return f"{prefix}needs at least one entry: name one"
    return f"{prefix}{error.message}"


def _found(error: ValidationError) -> str:
    """Describe the value that is not of the wanted type, and the way to write the one that was meant."""
    value, wanted = error.instance, kind(cast(dict[str, Any], error.schema))
    found = "found " + (
        "nothing (null)" if value is None else str(value).lower() if value in (True, False) else repr(value)
    )
    if isinstance(value, bool) and wanted == "string":
        forms = "yes, on or true" if value else "no, off or false"
        return f"{found}, which is how YAML reads {forms}: write a word in quotes"
    if wanted == "string" and not isinstance(value, dict | list | type(None)):
        return f"{found}: write it in quotes"
    if wanted == "array":
        return f"{found}: write [{value}]" if isinstance(value, str | int | float) else found
    if wanted not in ("integer", "number") or not isinstance(value, str):
        return found
    meant = number(value)
    if meant is None:
        mends = {"0": "in decimal digits, without a leading 0", "_": "without _", ":": "without :", ",": "without ,"}
        odd = next(
            (sign for sign in ("_", ":", ",") if sign in value), "0" if value.lstrip("+-").startswith("0") else ""
        )
        return f"{found}: write it {mends[odd]}" if odd and any(map(str.isdigit, value)) else found
    if wanted == "integer" and not float(meant).is_integer():
        return f"{found}: write a whole number"
    return f"{found}: write {_in_yaml(meant)}"


def _in_yaml(value: float) -> str:
    """Return a number as YAML 1.1 reads it: with a point where there is an exponent."""
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def did_you_mean(word: str, known: Any) -> str:
    """Return the end of a complaint about an unknown word: the closest that is known, or all that are."""
    close = difflib.get_close_matches(word, list(map(str, known)), n=1)
    return f"; did you mean {close[0]!r}?" if close else f" (known: {', '.join(map(str, known))})"
