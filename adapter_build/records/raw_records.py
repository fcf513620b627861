"""Reading raw records: each is checked against the schema, and all of them for repeated ids."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from adapter_build.core.faults import BadInput
from adapter_build.records.bad_records import Fault, Faults, odd_value
from adapter_build.records.json_stream import Broken, read_values
from adapter_build.records.record_shapes import name_records

SCHEMA = Path("schemas/raw-record.schema.json")
BAD = "bad_record"  # the one field beside question_id of the placeholder for a dropped record


def read_raw_records(path: Path, schema: Path = SCHEMA) -> Iterator[dict[str, Any]]:
    """Yield the records of `path` in their order. Raises `BadInput` that names the bad ones, or if there is none."""
    faults = Faults()
    for _, record, fault in _checked(path, schema):
        if fault:
            faults.add(str(fault))
        elif not faults.count:
            yield record
    faults.refuse(path)


def dropping_raw_records(path: Path, schema: Path, faults: Faults) -> Iterator[dict[str, Any]]:
    """Yield the records of `path`, and {question_id, bad_record} in the place of each bad one, noted in `faults`.

    The first good record with an id keeps it. A bad one whose id is no integer, or another's, is named @ and its
    position. Reads the file twice. Raises `BadInput` if no record is good.
    """
    good: set[int | str] = set()
    found: dict[int, tuple[Any, Fault]] = {}
    for position, record, fault in _checked(path, schema):
        if fault:
            faults.add(str(fault))
            found[position] = _id(record), fault
        else:
            good.add(record["question_id"])
    if not good:
        faults.refuse(path)
    for position, record in enumerate(read_values(path)):
        if position not in found:
            yield record
            continue
        question_id, fault = found[position]
        if question_id is None or question_id in good:
            question_id = f"@{position}"
        good.add(question_id)
        yield {"question_id": question_id, BAD: fault.reason()}


def _checked(path: Path, schema: Path) -> Iterator[tuple[int, Any, Fault | None]]:
    """Yield position, record and its fault, if any. Raises `BadInput` if the file has no record, or another shape."""
    # One validator for all records: jsonschema.validate() would check the schema itself again at each call.
    validator = Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    positions: dict[int, int] = {}
    position = -1
    for position, record in enumerate(read_values(path)):
        fault = _fault(validator, position, record)
        if fault is None:
            question_id = record["question_id"]
            first = positions.setdefault(question_id, position)
            if first != position:
                what = f"question_id {question_id} occurs twice, at positions {first} and {position}: remove one"
                fault = Fault(
                    _name(position, record), what, "unique_id", "question_id", "one of its own", str(question_id)
                )
        elif position == 0 and (shape := name_records(record, path, "raw")):
            raise BadInput(f"{path}: {shape}")
        yield position, record, fault
    if position < 0:
        raise BadInput(f"{path}: holds no record")


def _fault(validator: Draft202012Validator, position: int, record: Any) -> Fault | None:
    if isinstance(record, Broken):
        return Fault(_name(position, record), record.what, "json", "the record", "JSON")
    if odd := odd_value(record):
        place, what, bound = odd
        return Fault(_name(position, record), f"{place} {what}", "raw_schema", place, bound)
    error = next(validator.iter_errors(record), None)
    return error and Fault(_name(position, record), *_complaint(error))


def _id(record: Any) -> int | None:
    found = record.get("question_id") if isinstance(record, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _name(position: int, record: object) -> str:
    """Name a record by its id, or by its position in the file, from 0, if it has none."""
    if isinstance(record, dict) and isinstance(record.get("question_id"), int | str):
        return f"record with question_id {str(record['question_id'])[:60]!a} (position {position})".replace("'", "")
    return f"record at position {position} (the first is 0)"


def _complaint(error: ValidationError) -> tuple[str, str, str, str]:
    """Return the fault in words, the filter, the field, and the value that was expected."""
    where = error.json_path.removeprefix("$").removeprefix(".") or "the record"
    wanted: Any = error.validator_value
    if error.validator == "required":
        missing = ", ".join(key for key in wanted if key not in error.instance)
        return f"{where} has no field {missing}", "raw_schema", missing, "a field"
    if error.validator == "type":
        allowed = wanted if isinstance(wanted, list) else [wanted]
        bound = " or ".join(allowed)
        return f"{where} must be {bound}, found {_json_type(error.instance)}", "raw_schema", where, bound
    if error.validator in ("minimum", "maximum"):
        limit = {"minimum": "no less than", "maximum": "no more than"}[str(error.validator)]
        bound = f"{limit} {wanted}"
        return f"{where} must be {bound}, found {str(error.instance)[:60]}", "raw_schema", where, bound
    return f"{where}: {error.message[:200]}", "raw_schema", where, str(error.validator)


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), f"number {value}"[:60])
