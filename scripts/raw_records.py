"""Raw records, checked: each against the schema, all of them for repeated ids."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from faults import BadInput
from json_stream import read_values

SCHEMA = Path("schemas/raw-record.schema.json")


def read_raw_records(path: Path, schema: Path = SCHEMA) -> Iterator[dict[str, Any]]:
    """Yield the records of `path` in their order. Raises `BadInput` naming the record, or if there is none."""
    # One validator for all records: jsonschema.validate() would check the schema itself again at each call.
    validator = Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    positions: dict[int, int] = {}
    for position, record in enumerate(read_values(path)):
        error = next(validator.iter_errors(record), None)
        if error is not None:
            raise BadInput(f"{path}: {_name(position, record)}: {_complaint(error)}")
        first = positions.setdefault(record["question_id"], position)
        if first != position:
            raise BadInput(
                f"{path}: question_id {record['question_id']} occurs twice, at positions {first} and {position} "
                "(the first record is 0): remove one"
            )
        _check_characters(path, position, record)
        yield record
    if not positions:
        raise BadInput(f"{path}: holds no record")


def _name(position: int, record: object) -> str:
    """Name a record by its id, or by its position in the file, from 0, if it has none."""
    if isinstance(record, dict) and isinstance(record.get("question_id"), int | str):
        return f"record with question_id {record['question_id']} (position {position})"
    return f"record at position {position} (the first is 0)"


def _complaint(error: ValidationError) -> str:
    where = error.json_path.removeprefix("$").removeprefix(".") or "the record"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{where} has no field {', '.join(missing)}"
    if error.validator == "type":
        allowed = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        return f"{where} must be {' or '.join(allowed)}, found {_json_type(error.instance)}"
    return f"{where}: {error.message[:200]}"


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _check_characters(path: Path, position: int, record: dict[str, Any]) -> None:
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        broken = ascii(error.object[error.start : error.end])
        raise BadInput(
            f"{path}: {_name(position, record)}: holds {broken}, half of a surrogate pair, which is no character: "
            "remove or repair it"
        ) from None
