"""The sample corpus: real prose, no template showing, and every case that curation exists for."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
POSTS = json.loads((ROOT / "data/sample/law-questions.json").read_text())
CASES = json.loads((ROOT / "tests/support/sample_cases.json").read_text())
FIELDS = {  # case → what its filter measures
    "question_too_short": "question",
    "question_too_long": "question",
    "answer_too_short": "answer",
    "answer_too_long": "answer",
    "negative_question_score": "question_score",
    "negative_answer_score": "answer_score",
}
GRAM = 8


def words(html: str) -> list[str]:
    """Return the words of a text, without tags, case or punctuation."""
    return re.findall(r"[a-z0-9']+", re.sub(r"<[^>]+>", " ", html).lower())


def texts(post: dict) -> list[str]:
    return [post["question_body"], *(answer["body"] for answer in post["answers"])]


def shared_grams(posts: list[dict]) -> set[tuple[int, int]]:
    """Return the pairs of posts that share eight words in a row."""
    seen = defaultdict(set)
    for post in posts:
        for text in texts(post):
            found = words(text)
            for at in range(len(found) - GRAM + 1):
                seen[tuple(found[at : at + GRAM])].add(post["question_id"])
    return {(first, second) for ids in seen.values() for first in ids for second in ids if first < second}


def test_size_and_schema():
    assert len(POSTS) >= 120
    assert len({post["question_id"] for post in POSTS}) == len(POSTS)
    validator = Draft202012Validator(json.loads((ROOT / "schemas/raw-record.schema.json").read_text()))
    assert [error.message for post in POSTS for error in validator.iter_errors(post)] == []


def test_no_template_shows():
    declared = {tuple(sorted(pair)) for pair in CASES["exact_duplicate"] + CASES["near_duplicate"]}
    assert shared_grams(POSTS) == declared


def test_a_template_would_be_seen():
    copy = {**POSTS[0], "question_id": 1, "question_body": f"<p>Well: {POSTS[0]['question_body']}</p>", "answers": []}
    assert shared_grams([POSTS[0], copy]) == {(1, POSTS[0]["question_id"])}


def test_curation_drops_each_case_for_its_reason(run_script, tmp_path):
    """Every record is put into the training split, so that each meets the filters."""
    raw, split, unusable = tmp_path / "raw.jsonl", tmp_path / "train.jsonl", tmp_path / "unusable.jsonl"
    done = run_script(
        "workflow", "acquire_raw", kind="file", source=ROOT / "data/sample/law-questions.json", records=raw
    )
    assert done.returncode == 0, done.stderr
    outputs = {name: tmp_path / f"{name}.jsonl" for name in ("train", "val", "test")}
    done = run_script("curate", "split_records", records=raw, method="hash", seed=42, unusable=unusable, **outputs)
    assert done.returncode == 0, done.stderr
    rows = [line for path in outputs.values() for line in path.read_text().splitlines()]
    split.write_text("\n".join(rows) + "\n")
    ledger = tmp_path / "ledger.parquet"
    done = run_script(
        "curate", "curate_split", split="train", records=split, filters="on", min_words=50, max_words=500, min_score=0,
        null_score="keep", curated=tmp_path / "curated.jsonl", ledger=ledger,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    dropped = {row["record_id"]: row for row in pyarrow.parquet.read_table(ledger).to_pylist() if row["filter"]}
    for case, field in FIELDS.items():
        for number in CASES[case]:
            assert dropped[str(number)]["field"] == field
            assert dropped[str(number)]["measured"] is not None
    without_answer = {json.loads(line)["id"] for line in unusable.read_text().splitlines()}
    assert without_answer == {str(number) for number in CASES["no_answer"]}
    ordinary = set(map(str, range(1001, 1049))) | set(map(str, range(2001, 2049)))
    assert not ordinary & set(dropped)
