"""A file of settings, each value read as the type that the schema wants of its key, so that it means what was written.

YAML 1.1, which PyYAML reads, takes `no` for false, 010 for 8, 1:30 for 90 and 2024-01-01 for a date, keeps 1e-3 as
text, and the last of two equal keys. Here a scalar without quotes is text until the schema of its key gives a type.
"""

import json
import re
from collections.abc import Hashable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import read_regular_text
from adapter_build.core.strict_json import is_list, is_object

_NULL = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9]\d*|[1-9]\d{0,2}(?:_\d{3})+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,4})?")
_NOT_FINITE = re.compile(r"([-+]?)\.(?:(inf|Inf|INF)|nan|NaN|NAN)")
_DIGITS = 30  # of a whole number: more than any key takes


class Plain(str):
    """A scalar without quotes."""


class _Loader(yaml.SafeLoader):
    """YAML in which a scalar is text and a name stands once."""

    # The one resolver is that of the merge key (`<<`).
    yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("^<<$"))]}  # noqa: RUF012 - PyYAML's own

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a mapping with two equal names, or with one that is no text."""
        names: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a name is one word of text", key.start_mark)
            if key.value in names and key.tag != "tag:yaml.org,2002:merge":
                fault = f"{key.value!r} stands twice: remove or rename one"
                raise yaml.constructor.ConstructorError(None, None, fault, key.start_mark)
            names.add(key.value)
        return {str(name): value for name, value in super().construct_mapping(node, deep).items()}

    def text(self, node: yaml.ScalarNode) -> str:
        """Return a scalar as it stands."""
        return node.value if node.style else Plain(node.value)


for tag in ("str", "merge"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{tag}", _Loader.text)


def read_settings(path: Path, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a YAML or JSON file. Raises `BadInput` naming the file and, where known, the line."""
    try:
        content = _parsed(read_regular_text(path, links=True))
        if content is None or (isinstance(content, Plain) and content in _NULL):
            return {}
        if not isinstance(content, dict):
            found = "a list" if isinstance(content, list) else "one value"
            raise BadInput(f"{path}: cannot be read (expected names and values, found {found})")
        return typed(content, schema)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: cannot be read (not UTF-8: save it as UTF-8)") from None
    except RecursionError:
        raise BadInput(f"{path}: cannot be read (nested too deeply, or in itself)") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: cannot be read ({_said(error)})") from None


def given_setting(entry: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an entry of --config: `name=value`, the value as in a file, or text if it is no YAML."""
    name, _, text = entry.partition("=")
    try:
        value = _parsed(text)
    except yaml.YAMLError:
        value = Plain(text)
    return typed({name: Plain() if value is None else value}, schema)


def typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a value with its scalars in the types of the schema; a scalar that does not fit stays text."""
    if isinstance(value, Plain):
        return _scalar(value, schema)
    if is_object(value):
        known: dict[str, Any] = schema.get("properties", {})
        others: dict[str, Any] = schema.get("additionalProperties") or {}
        return {name: typed(inner, known.get(name, others)) for name, inner in value.items()}
    if is_list(value):
        return [typed(inner, schema.get("items", {})) for inner in value]
    return value


def kind(schema: Mapping[str, Any]) -> str:
    """Return the type of a key's value, null aside; of an enumeration, its values' type; empty where any is allowed."""
    if "enum" in schema:
        return "integer" if isinstance(schema["enum"][0], int) else "string"
    wanted = schema.get("type", "")
    return wanted if isinstance(wanted, str) else wanted[0]


def number(text: str) -> int | float | None:
    """Return the number that a text writes in decimal digits, or None."""
    if special := _NOT_FINITE.fullmatch(text):
        return float(f"{special[1]}{'inf' if special[2] else 'nan'}")
    if not _NUMBER.fullmatch(text):
        return None
    digits = text.replace("_", "")
    return float(digits) if re.search("[.eE]", digits) else int(digits)


def _scalar(text: Plain, schema: Mapping[str, Any]) -> Any:
    wanted = kind(schema)
    if text in _NULL and not (text == "~" and "format" in schema):
        return None
    if wanted == "boolean" and text in {
        form for word in (*_TRUE, *_FALSE) for form in (word, word.title(), word.upper())
    }:
        return text.lower() in _TRUE
    if wanted in ("integer", "number") and len(text) <= _DIGITS and (value := number(text)) is not None:
        return _whole(text, value) if wanted == "integer" else value
    return str(text)


def _whole(text: str, value: int | float) -> int | float:
    """Return 1e3 or 8.0 as the exact whole number."""
    if isinstance(value, int) or not value.is_integer():
        return value
    return int(Decimal(text.replace("_", ""))) if abs(value) < 10**_DIGITS else value


def _parsed(text: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_once)
        except ValueError:
            pass  # YAML's braces
    return yaml.load(text, _Loader)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise yaml.constructor.ConstructorError(problem=f"{twice!r} stands twice: remove or rename one")
    return dict(pairs)


def _said(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    mend = ": indent with blanks" if "'\\t'" in problem else ""
    return f"{f'line {mark.line + 1}: ' if mark else ''}{problem}{mend}"
