"""acquire_curated: finished splits come in whole, or the record that is wrong is named."""

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from adapter_build.records.ledger import SCHEMA
from adapter_build.records.splits import SPLITS, finished_files
from adapter_build.report.summaries import data_flow


def row(record_id: Any, **changes: Any) -> dict[str, Any]:
    return {"id": record_id, "title": "Title", "question": "Question?", "answer": "Answer.", **changes}


@pytest.fixture
def acquire(run_script, tmp_path):
    """Run the step on three splits of rows or text; return the process and the folder it was to fill."""

    def run(**changes: Any):
        splits = {"train": [row("a"), row(7, tags=["x"], answer_score=3)], "val": [row("b")], "test": [row("c")]}
        (tmp_path / "in").mkdir()
        (tmp_path / "out").mkdir()
        for split, rows in (splits | changes).items():
            text = rows if isinstance(rows, str) else "".join(json.dumps(one) + "\n" for one in rows)
            (tmp_path / "in" / f"law-qa-{split}.jsonl").write_text(text)
        return take(run_script, tmp_path)

    return run


def take(run_script, folder: Path, **options: Any):
    """Run the step on the splits of `in/`, found as a build finds them."""
    (folder / "out").mkdir(exist_ok=True)
    curated, ledger = [folder / "out" / f"law-qa-{s}.jsonl" for s in SPLITS], folder / "out/ledger.parquet"
    files = {"source": finished_files(folder / "in"), "curated": curated, "ledger": ledger}
    return run_script("workflow", "acquire_curated", **files, **options), folder / "out"


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_finished_splits_are_taken_as_they_are(acquire):
    result, out = acquire()
    assert result.returncode == 0, result.stderr
    unknown = dict.fromkeys(("question_score", "answer_score", "answer_id", "tags", "license", "link"))
    assert rows_of(out / "law-qa-train.jsonl") == [
        row("a", position=0) | unknown,
        unknown | row("7", position=1, tags=["x"], answer_score=3),
    ]
    assert [one["position"] for split in SPLITS for one in rows_of(out / f"law-qa-{split}.jsonl")] == [0, 1, 2, 3]
    ledger = pq.read_table(out / "ledger.parquet")
    assert ledger.schema.equals(SCHEMA)
    assert [(one["record_id"], one["split"], one["outcome"]) for one in ledger.to_pylist()] == [
        ("a", "train", "kept"),
        ("7", "train", "kept"),
        ("b", "val", "kept"),
        ("c", "test", "kept"),
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"val": []}, ["law-qa-val.jsonl", "is empty"]),
        ({"val": '{"id": "b"\n'}, ["law-qa-val.jsonl: line", "not JSON"]),
        ({"val": "[]\n"}, ["law-qa-val.jsonl", "holds no record"]),
        ({"test": [row("c"), row("a")]}, ["law-qa-test.jsonl: record 2", "id a", "law-qa-train.jsonl: record 1"]),
        ({"test": [row("7")]}, ["id 7", "law-qa-train.jsonl: record 2"]),
        ({"val": [row("b"), row("b")]}, ["record 2", "id b", "record 1"]),
        ({"val": [row(None)]}, ["record 1", "has no id"]),
        ({"val": [row(True)]}, ["record 1", "has no id"]),
        ({"val": [row("b", title=" ")]}, ["record 1 (id b)", "title must be a text that is not empty"]),
        ({"val": [row("b", answer=3)]}, ["record 1 (id b)", "answer must be a text"]),
    ],
)
def test_a_bad_split_is_refused(acquire, changes, words):
    result, out = acquire(**changes)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert not list(out.iterdir())


def test_a_missing_split_is_refused(run_script, tmp_path):
    source, curated = ([tmp_path / side / f"law-qa-{s}.jsonl" for s in SPLITS] for side in ("in", "out"))
    (tmp_path / "out").mkdir()
    result = run_script(
        "workflow", "acquire_curated", source=source, curated=curated, ledger=tmp_path / "out/ledger.parquet"
    )
    assert result.returncode == 2
    assert "law-qa-train.jsonl: no such file" in result.stderr


def test_splits_come_in_every_form_that_raw_data_does(run_script, tmp_path):
    (tmp_path / "in").mkdir()
    content = {split: json.dumps([row(split, title="Fälle", answer_id=10**24)]).encode() for split in SPLITS}
    (tmp_path / "in/law-qa-train.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + content["train"]))
    (tmp_path / "in/law-qa-val.json").write_bytes(lzma.compress(content["val"]))
    (tmp_path / "in/law-qa-test.jsonl.bz2").write_bytes(bz2.compress(content["test"]))
    result, out = take(run_script, tmp_path)
    assert result.returncode == 0, result.stderr
    for split in SPLITS:
        (found,) = rows_of(out / f"law-qa-{split}.jsonl")
        assert (found["id"], found["title"], found["answer_id"]) == (split, "Fälle", 10**24)
    # All have one question.
    assert result.stderr.startswith("warning: 2 records have title and question of a record in another split")
    (tmp_path / "in/law-qa-val.json").write_bytes(b"PAR1" + bytes(20))
    result, _ = take(run_script, tmp_path)
    assert result.returncode == 2 and "law-qa-val.json: is Parquet" in result.stderr


def test_all_bad_records_are_listed_or_dropped(run_script, tmp_path):
    (tmp_path / "in").mkdir()
    bad = [
        row("b", title=None),
        row("c", answer=" "),
        row("a"),
        row("d", further=float("nan")),
        row(None),
        3,
        row("e\ud83d"),
    ]
    for split, rows in {"train": [row("a"), *bad], "val": [row("b")], "test": [row("f")]}.items():
        (tmp_path / "in" / f"law-qa-{split}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    result, out = take(run_script, tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: 7 bad records: ") and not list(out.iterdir())
    result, out = take(run_script, tmp_path, bad_records="drop")
    assert result.returncode == 0, result.stderr
    assert "warning: 7 bad records are dropped" in result.stderr
    ledger = pq.read_table(out / "ledger.parquet").to_pylist()
    assert [one["record_id"] for one in ledger] == ["a", "@1", "c", "@3", "d", "@5", "@6", "@7", "b", "f"]
    assert [one["field"] for one in ledger[1:8]] == ["title", "answer", "id", "further", "id", "the record", "id"]
    assert (ledger[3]["filter"], ledger[3]["duplicate_of"]) == ("unique_id", "a")
    flow = data_flow(ledger)
    assert (flow["raw"], flow["kept"], flow["dropped"]) == (10, 3, 7)
