"""acquire_curated: finished splits come in whole, or the record that is wrong is named."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ledger import SCHEMA

SPLITS = ("train", "val", "test")


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
        source, curated = ([tmp_path / side / f"law-qa-{s}.jsonl" for s in SPLITS] for side in ("in", "out"))
        ledger = tmp_path / "out/ledger.parquet"
        return run_script(
            "workflow", "acquire_curated", source=source, curated=curated, ledger=ledger
        ), tmp_path / "out"

    return run


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
        ({"val": []}, ["law-qa-val.jsonl", "holds no record"]),
        ({"val": '{"id": "b"\n'}, ["law-qa-val.jsonl:1", "not JSON"]),
        ({"val": "[]\n"}, ["law-qa-val.jsonl:1", "expected a JSON object"]),
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
    assert not (out / "ledger.parquet").exists()
    assert not list(out.glob("*.part"))


def test_a_missing_split_is_refused(run_script, tmp_path):
    source, curated = ([tmp_path / side / f"law-qa-{s}.jsonl" for s in SPLITS] for side in ("in", "out"))
    (tmp_path / "out").mkdir()
    result = run_script(
        "workflow", "acquire_curated", source=source, curated=curated, ledger=tmp_path / "out/ledger.parquet"
    )
    assert result.returncode == 2
    assert "law-qa-train.jsonl: no such file" in result.stderr
