"""collect_ledger: one row per raw record in the raw order, or the record that is missing, doubled or unknown."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adapter_build.records.ledger import SCHEMA, write_ledger

SPLIT_OF = {1: "train", 2: "val", 3: "train", 4: "test", 5: None, 6: "train"}


def kept(number: int, split: str, **changes) -> dict:
    return {"record_id": str(number), "position": number - 1, "split": split, "outcome": "kept", **changes}


def unusable(number: int) -> dict:
    reason = {"step": "split_records", "filter": "has_answer", "field": "answers", "measured": 0, "bound": "1.."}
    return {"id": str(number), "position": number - 1, **reason}


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def collect(run_script, tmp_path):
    """Run the step on six records, in ledgers written backwards; `change` may spoil them first."""

    def run(change=lambda ledgers: None):
        ledgers = {
            split: [kept(number, split) for number, where in reversed(SPLIT_OF.items()) if where == split]
            for split in ("train", "val", "test")
        } | {"unusable": [unusable(5)]}
        change(ledgers)
        paths = []
        for split in ("train", "val", "test"):
            paths.append(tmp_path / f"ledger-{split}.parquet")
            write_ledger(paths[-1], ledgers[split])
        out = tmp_path / "ledger.parquet"
        result = run_script(
            "curate",
            "collect_ledger",
            records=write_lines(tmp_path / "records.jsonl", [{"question_id": number} for number in SPLIT_OF]),
            unusable=write_lines(tmp_path / "unusable.jsonl", ledgers["unusable"]),
            splits=paths,
            ledger=out,
        )
        return result, out

    return run


def test_one_row_per_record_in_the_raw_order(collect):
    def drop_one(ledgers):
        ledgers["train"][0] |= {"outcome": "dropped", "step": "curate_split", "filter": "word_count", "measured": 3}

    result, out = collect(drop_one)
    assert result.returncode == 0, result.stderr
    table = pq.read_table(out)
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert [(int(row["record_id"]), row["split"]) for row in rows] == list(SPLIT_OF.items())
    assert [row["outcome"] for row in rows] == ["kept"] * 4 + ["dropped"] * 2
    assert (rows[4]["step"], rows[4]["filter"], rows[4]["measured"]) == ("split_records", "has_answer", 0.0)
    assert rows[5]["measured"] == 3.0


def test_the_bytes_are_the_same_every_time(collect, tmp_path):
    first = collect()[1].read_bytes()
    assert collect()[1].read_bytes() == first
    # The twin: another row, other bytes.
    assert collect(lambda ledgers: ledgers["val"][0].update(parent="1"))[1].read_bytes() != first
    assert str(tmp_path).encode() not in first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ledgers: ledgers["val"].clear(), ["record 2 (position 1)", "in no split's ledger"]),
        (lambda ledgers: ledgers["unusable"].clear(), ["record 5 (position 4)", "in no split's ledger"]),
        (lambda ledgers: ledgers["val"].append(kept(1, "val")), ["record 1", "twice", "train", "val"]),
        (lambda ledgers: ledgers["test"].append(kept(4, "test")), ["record 4", "twice", "ledger-test"]),
        (lambda ledgers: ledgers["unusable"].append(unusable(3)), ["record 3", "twice", "unusable"]),
        (lambda ledgers: ledgers["test"].append(kept(9, "test")), ["ledger-test", "record 9", "not in", "records"]),
        (lambda ledgers: ledgers["test"][0].update(position=0), ["ledger-test", "record 4", "position 0", "has 3"]),
    ],
)
def test_a_record_not_accounted_for_once_is_named(collect, change, words):
    result, out = collect(change)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert not list(out.parent.glob("ledger.parquet*"))


def test_a_file_that_is_no_ledger_is_refused(run_script, tmp_path):
    records = write_lines(tmp_path / "records.jsonl", [{"question_id": 1}])
    none = write_lines(tmp_path / "unusable.jsonl", [])
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    for path, words in ((other, "not a ledger"), (records, "not a Parquet file"), (tmp_path / "none", "no such file")):
        options = {"records": records, "unusable": none, "splits": [path], "ledger": tmp_path / "ledger.parquet"}
        result = run_script("curate", "collect_ledger", **options)
        assert result.returncode == 2, result.stderr
        assert f"{path}: {words}" in result.stderr
