"""Bad records: all are listed, or each is in the ledger and everything adds up; and numbers of any size."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_acquire_raw import RECORDS, dumped, record

from adapter_build.audit.training_records import fate
from adapter_build.core.faults import BadInput
from adapter_build.records import json_stream
from adapter_build.records.bad_records import Faults
from adapter_build.records.raw_records import dropping_raw_records, read_raw_records
from adapter_build.report.summaries import data_flow
from split_records import question_and_answer

SCHEMA = Path(__file__).parents[2] / "schemas/raw-record.schema.json"
quick = settings(derandomize=True, deadline=None, max_examples=200)
WORDS = "word " * 60
# Each with what is said of it, and with its row: id, filter, field, bound, duplicate_of.
BAD: list[tuple[Any, str, tuple]] = [
    (record(40, question_body=None), "question_body must be string, found null",
     ("40", "raw_schema", "question_body", "string", None)),
    (record(41, answers=[{"answer_id": 1, "body": None, "score": 1}]), "answers[0].body must be string",
     ("41", "raw_schema", "answers[0].body", "string", None)),
    (record(42, score=2.5), "score must be integer or null, found number 2.5",
     ("42", "raw_schema", "score", "integer or null", None)),
    (record("43"), "question_id must be integer, found string", ("@8", "raw_schema", "question_id", "integer", None)),
    ({key: value for key, value in record(44).items() if key != "license"}, "has no field license",
     ("44", "raw_schema", "license", "a field", None)),
    (record(45, score=float("nan")), "score is NaN", ("45", "raw_schema", "score", "a finite number", None)),
    (record(46, question_title="\ud83d"), "question_title holds '\\ud83d', half of a surrogate",
     ("46", "raw_schema", "question_title", "whole characters", None)),
    (record(7), "question_id 7 occurs twice, at positions 0 and 12",
     ("@12", "unique_id", "question_id", "one of its own", "7")),
    (record(8, tags=3), "tags must be array or string or null",
     ("@13", "raw_schema", "tags", "array or string or null", None)),
    (record(8), "", ("8", None, None, None, None)),
    (None, "the record must be object, found null", ("@15", "raw_schema", "the record", "object", None)),
    (record(7, score="x"), "score must be integer or null, found string",
     ("@16", "raw_schema", "score", "integer or null", None)),
    (record(-(10**30), score=-(2**64)), "score must be no less than",
     ("-1" + "0" * 30, "raw_schema", "score", "no less than -9007199254740992", None)),
]  # fmt: skip
GOOD = [record(7, score=2**53), record(3, tags=None), record(10**24), record(5, answers=[]), record(6)]
MIXED = [*GOOD, *(one for one, _, _ in BAD)]


@pytest.fixture
def mixed(tmp_path):
    path = tmp_path / "raw.json"
    path.write_bytes(dumped(MIXED))
    return path


def test_all_are_listed_at_once(mixed):
    with pytest.raises(BadInput) as refused:
        list(read_raw_records(mixed, SCHEMA))
    message = str(refused.value)
    assert message.startswith(f"{mixed}: 12 bad records: record with question_id 40 (position 5): ")
    assert message.endswith("leave it out with data.bad_records: drop")
    for _, what, _ in BAD:
        assert what in message
    assert "(position 14)" not in message, "that one is good"


def test_of_many_the_first_are_listed_and_the_rest_counted(tmp_path):
    path = tmp_path / "raw.json"
    path.write_bytes(dumped([record(number, score="x") for number in range(1000)]))
    with pytest.raises(BadInput) as refused:
        list(read_raw_records(path, SCHEMA))
    assert "1,000 bad records: " in str(refused.value)
    assert "(position 19)" in str(refused.value) and "(position 20)" not in str(refused.value)
    assert "; and 980 more: " in str(refused.value)


def chain(run_script, folder: Path, source: Path, **options: Any):
    """Take a raw file up to its whole ledger; return what each step said."""
    splits = ("train", "val", "test")
    records, unusable = folder / "records.jsonl", folder / "unusable.jsonl"
    done = [run_script("workflow", "acquire_raw", kind="file", source=source, records=records, **options)]
    if done[0].returncode:
        return done
    divided = {split: folder / f"{split}.jsonl" for split in splits}
    done.append(
        run_script("curate", "split_records", records=records, method="hash", seed=42, unusable=unusable, **divided)
    )
    whole = folder / "all.jsonl"  # as one split, so that none is empty
    whole.write_text("".join(path.read_text(encoding="utf-8") for path in divided.values()), encoding="utf-8")
    bounds = {"filters": "off", "min_words": 0, "max_words": 500, "min_score": 0, "null_score": "keep"}
    made = {"curated": folder / "curated.jsonl", "ledger": folder / "train.parquet"}
    done.append(run_script("curate", "curate_split", split="train", records=whole, **bounds, **made))
    done.append(
        run_script(
            "curate", "collect_ledger", records=records, unusable=unusable, splits=made["ledger"], ledger=folder / "l"
        )
    )
    for one in done:
        assert one.returncode == 0, one.stderr
    return done


def test_dropped_each_has_its_row_and_all_adds_up(run_script, tmp_path, mixed):
    said = chain(run_script, tmp_path, mixed, bad_records="drop")
    assert said[0].stderr.startswith(f"warning: {mixed}: 12 bad records are dropped: record with question_id 40")
    rows = pq.read_table(tmp_path / "l").to_pylist()
    assert [row["position"] for row in rows] == list(range(len(MIXED)))
    columns = ("record_id", "filter", "field", "bound", "duplicate_of")
    assert [tuple(row[column] for column in columns) for row in rows[len(GOOD) :]] == [row for _, _, row in BAD]
    assert {row["step"] for row in rows[len(GOOD) :]} == {"acquire_raw", None}
    flow = data_flow(rows)
    assert (flow["raw"], flow["usable"], flow["kept"], flow["dropped"]) == (18, 5, 5, 13)
    assert sum(group["count"] for group in flow["filters"]) == 13
    assert fate(rows[5]) == "dropped by acquire_raw, filter raw_schema: question_body must be string"
    assert fate(rows[12]).endswith("a duplicate of 7")
    kept = [json.loads(line) for line in (tmp_path / "curated.jsonl").read_text().splitlines()]
    assert {one["id"] for one in kept} == {"7", "3", str(10**24), "6", "8"}


def test_good_records_come_the_same_either_way(tmp_path):
    path = tmp_path / "raw.json"
    path.write_bytes(dumped(RECORDS))
    faults = Faults()
    assert list(dropping_raw_records(path, SCHEMA, faults)) == list(read_raw_records(path, SCHEMA)) == RECORDS
    assert faults.count == 0
    path.write_bytes(dumped([record(1, score="x"), None]))
    with pytest.raises(BadInput, match="2 bad records"):
        list(dropping_raw_records(path, SCHEMA, faults))


@pytest.mark.parametrize("ending", [b"\n", b"\r\n\r\n"])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_broken_lines_are_bad_records(tmp_path, monkeypatch, ending, chunk):
    """Between others; the last one may be cut off, which is a fault of the whole file."""
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = tmp_path / "raw.jsonl"
    lines = [dumped(one) for one in RECORDS]
    path.write_bytes(ending.join([lines[0], b'{"question_id": 4,, }', lines[1], b'{"question_id', lines[2], b""]))
    with pytest.raises(BadInput) as refused:
        list(read_raw_records(path, SCHEMA))
    line = 1 + ending.count(b"\n")
    for words in ("2 bad records", "record at position 1", f"line {line}, column 19: not JSON"):
        assert words in str(refused.value)
    faults = Faults()
    taken = list(dropping_raw_records(path, SCHEMA, faults))
    assert [one for one in taken if "answers" in one] == RECORDS and faults.count == 2
    assert taken[1] == {"question_id": "@1", "bad_record": {
        "filter": "json", "field": "the record", "bound": "JSON", "duplicate_of": None}}  # fmt: skip
    path.write_bytes(b"\n".join([lines[0], lines[1][:-9]]))
    with pytest.raises(BadInput, match="line 2, column"):
        list(dropping_raw_records(path, SCHEMA, Faults()))
    # Values that take several lines, or share one, are no broken lines.
    path.write_bytes(
        ending.join([*(dumped(one, indent=1) for one in RECORDS[:2]), lines[2]]).replace(b"}\r\n\r\n{", b"}{")
    )
    assert list(read_raw_records(path, SCHEMA)) == RECORDS


numbers = st.one_of(
    st.integers(),
    st.integers(min_value=-(10**40), max_value=10**40),
    st.floats(),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**64, 10**400, -0.0, 3.0, 1e300, float("nan")]),
)
spelled = st.one_of(
    numbers.map(json.dumps),
    st.builds("{}{}e{}".format, st.sampled_from(["", "-"]), st.integers(0, 99), st.integers(-400, 400)),
    st.sampled_from(["1" * 5000, "-" + "9" * 30 + ".0", "1E400", "12.50", "null"]),
)
TAKEN: list[dict[str, Any]] = []


@quick
@given(spelled, spelled, spelled)
def test_any_number_is_kept_or_refused_in_one_line(tmp_path_factory, question_id, score, answer_id):
    path = tmp_path_factory.getbasetemp() / "numbers.json"
    text = json.dumps(
        [record("ID", score="S", question_body=WORDS, answers=[{"answer_id": "A", "body": "b", "score": 1}])]
    )
    path.write_text(text.replace('"ID"', question_id).replace('"S"', score).replace('"A"', answer_id))
    try:
        (found,) = read_raw_records(path, SCHEMA)
    except BadInput as fault:
        assert "\n" not in str(fault) and ("position 0" in str(fault) or "line 1" in str(fault))
        return
    assert all(isinstance(value, int) for value in (found["question_id"], found["score"] or 0))
    assert -(2**53) <= (found["score"] or 0) <= 2**53
    for spelling, value in ((question_id, found["question_id"]), (answer_id, found["answers"][0]["answer_id"])):
        if spelling.lstrip("-").isdigit():
            assert str(value) == str(int(spelling))
    TAKEN.append(found)


def test_all_the_numbers_taken_pass_through_curation(run_script, tmp_path):
    """Those of the test above, and bounds; after an integer of any size in a score too, though acquire refuses it."""
    found = {one["question_id"]: one for one in [*TAKEN, record(-1, score=-(2**53)), record(10**100), record(2)]}
    rows = [question_and_answer(position, one) for position, one in enumerate(found.values())]
    rows.append(rows[0] | {"id": "huge", "question_score": 10**400, "answer_score": -(2**64), "answer_id": 10**400})
    source = tmp_path / "train.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    bounds = {"filters": "on", "min_words": 0, "max_words": 500, "min_score": -10, "null_score": "keep"}
    made = {"curated": tmp_path / "curated.jsonl", "ledger": tmp_path / "train.parquet"}
    done = run_script("curate", "curate_split", split="train", records=source, **bounds, **made)
    assert done.returncode == 0, done.stderr
    kept = {row["id"]: row for row in map(json.loads, made["curated"].read_text().splitlines())}
    for row in rows:
        low = any(row[score] is not None and row[score] < -10 for score in ("question_score", "answer_score"))
        assert (row["id"] not in kept) == low
        if not low:
            assert kept[row["id"]]["answer_id"] == row["answer_id"]
