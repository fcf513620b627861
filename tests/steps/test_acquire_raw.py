"""acquire_raw: every way in, and one clear line for every way it can go wrong."""

import bz2
import gzip
import hashlib
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from conftest import SLICE, needs_slice
from loopback_hub import COMMIT, FILE, REPO, hub

from adapter_build.core.faults import BadInput
from adapter_build.records import json_stream


def record(question_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "question_id": question_id,
        "tags": ["contract"],
        "score": 3,
        "license": "CC BY-SA 4.0",
        "link": f"https://example.org/{question_id}",
        "question_title": "Is a café's “sign” binding?",
        "question_body": "<p>It says so.</p>",
        "answers": [{"answer_id": 9, "body": "<p>No.</p>", "score": None}],
        **changes,
    }


RECORDS = [record(7), record(3, score=None, tags=None), record(5, answers=[], further="allowed")]


@pytest.fixture
def acquire(run_script, tmp_path):
    """Run the step on the bytes of a file; return the process and the path it was to write."""

    def run(content: bytes, name: str = "raw.json", **options: object):
        source = tmp_path / name
        source.write_bytes(content)
        out = tmp_path / "records.jsonl"
        return run_script("workflow", "acquire_raw", kind="file", source=source, records=out, **options), out

    return run


def refused(result, out: Path, *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    for word in words:
        assert word in result.stderr
    assert not list(out.parent.glob("records.jsonl*"))


def dumped(records: list[Any], **options: Any) -> bytes:
    return json.dumps(records, **options).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("raw.json", dumped(RECORDS)),
        ("raw.json", b"\xef\xbb\xbf\n " + dumped(RECORDS, indent=3, ensure_ascii=False)),
        ("raw.json", dumped([dict(reversed(one.items())) for one in RECORDS]).replace(b'"score": 3', b'"score": 3.0')),
        ("raw.jsonl", b"\n\n".join(dumped(one) for one in RECORDS) + b"\n"),
        ("raw.json.xz", lzma.compress(dumped(RECORDS))),
        ("raw.jsonl.gz", gzip.compress(b"\r\n".join(dumped(one) for one in RECORDS))),
        ("raw.json", bz2.compress(dumped(RECORDS))),
        ("raw.zip", lzma.compress(dumped(RECORDS))),
        ("raw.json.xz", dumped(RECORDS)),
    ],
    ids=["array", "spaced", "reordered", "lines", "xz", "gz", "bz2", "name", "unpacked"],
)
def test_one_spelling_comes_of_every_form(acquire, name, content):
    result, out = acquire(content, name)
    assert result.returncode == 0, result.stderr
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines == [json.dumps(one, sort_keys=True, ensure_ascii=False) for one in RECORDS]


def test_text_is_kept_to_the_blank(acquire):
    """The twin of the test above: what stands inside a text is content, and does change the output."""
    _, out = acquire(dumped([record(1, question_body="<p>a  b</p>")]))
    assert json.loads(out.read_text())["question_body"] == "<p>a  b</p>"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("raw.json", b"", ["is empty"]),
        ("raw.json", b"[]", ["holds no record"]),
        ("raw.json", b"posts\n", ["line 1, column 1", "not JSON"]),
        ("raw.json", b"[" + dumped(RECORDS[0]) + b',\n  {"question_id": 4,, }]', ["line 2, column 21", "not JSON"]),
        (
            "raw.json",
            b"[" + dumped(RECORDS[0]) + b"\n" + dumped(RECORDS[1]) + b"]",
            ["line 2, column 1", "expected ','"],
        ),
        ("raw.json", dumped(RECORDS)[:-1], ["line 1", "cut off"]),
        ("raw.json", dumped(RECORDS)[:-30], ["line 1", "not JSON"]),
        ("raw.json", dumped(RECORDS) + b"\n]", ["line 2, column 1", "after the end of the array"]),
        ("raw.jsonl", dumped(RECORDS[0]) + b"\n{]\n", ["line 2, column 2", "not JSON"]),
        ("raw.json", "[“]".encode("cp1252"), ["not UTF-8"]),
        ("raw.json", b"[" * 100_000, ["line 1", "not JSON"]),
        ("raw.json.xz", lzma.compress(dumped(RECORDS))[:-20], [".xz file is truncated"]),
        ("raw.json.gz", gzip.compress(dumped(RECORDS))[:-20], [".gz file is truncated"]),
        ("raw.json.xz", lzma.compress(dumped(RECORDS))[:30] + b"?" * 40, ["damaged .xz file"]),
        ("raw.json", bz2.compress(dumped(RECORDS))[:-20], [".bz2 file is truncated"]),
        ("raw.json.gz", gzip.compress(lzma.compress(dumped(RECORDS))), ["packed twice"]),
    ],
)
def test_a_file_that_is_not_json_is_refused(acquire, name, content, words):
    result, out = acquire(content, name)
    refused(result, out, f"{name}:", *words)


def test_a_missing_file_and_a_folder_are_refused(run_script, tmp_path):
    out = tmp_path / "records.jsonl"
    for source, word in ((tmp_path / "none.json", "no such file"), (tmp_path, "cannot be read")):
        for sha256 in ("", "0" * 64):
            result = run_script("workflow", "acquire_raw", kind="file", source=source, sha256=sha256, records=out)
            refused(result, out, word)


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in record(42).items() if key != field}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (without("question_title"), ["question_id 42", "position 1", "has no field question_title"]),
        (without("question_id"), ["record at position 1", "has no field question_id"]),
        (record(42, question_body=None), ["question_id 42", "question_body must be string, found null"]),
        (record(42, score="3"), ["question_id 42", "score must be integer or null, found string"]),
        (record(42, score=True), ["question_id 42", "score must be integer or null, found boolean"]),
        (record(42, score=2.5), ["question_id 42", "found number 2.5"]),
        (
            record(42, score=2**64),
            ["question_id 42", "score must be no more than 9007199254740992", "18446744073709551616"],
        ),
        (record(42, score=float("nan")), ["question_id 42", "score is NaN"]),
        (record(42, further=[float("-inf")]), ["question_id 42", "further[0] is less than any double"]),
        (record(42, tags=["a", 1]), ["question_id 42", "tags[1] must be string, found number"]),
        (record(42, answers={}), ["question_id 42", "answers must be array, found object"]),
        (record(42, answers=[{"body": "x", "score": 1}]), ["question_id 42", "answers[0] has no field answer_id"]),
        ("no record", ["record at position 1", "the record must be object, found string"]),
        (record(7), ["question_id 7", "occurs twice, at positions 0 and 1"]),
        (record(42, question_title="\ud83d"), ["question_id 42", "\\ud83d", "surrogate"]),
    ],
)
def test_a_bad_record_is_named(acquire, bad, words):
    result, out = acquire(dumped([RECORDS[0], bad]))
    refused(result, out, "raw.json: ", *words)


def test_a_sha256_is_of_the_packed_file(acquire):
    packed = lzma.compress(dumped(RECORDS))
    right, wrong = (hashlib.sha256(content).hexdigest() for content in (packed, dumped(RECORDS)))
    result, out = acquire(packed, "raw.json.xz", sha256=right)
    assert result.returncode == 0, result.stderr
    out.unlink()
    result, out = acquire(packed, "raw.json.xz", sha256=wrong)
    refused(result, out, f"expected {wrong} (config key data.sha256)", f"got {right}")


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_chunks_change_nothing(tmp_path, monkeypatch, chunk, indent):
    """A window of one character sees every boundary: inside a number, an escape, a word."""
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = tmp_path / "values.json"
    values = [*RECORDS, -12.5, 1234567, True, None, 'a\\"\n€', [], {}]
    path.write_bytes(dumped(values, indent=indent))
    assert list(json_stream.read_values(path)) == values
    path.write_bytes(b"\n".join(dumped(value) for value in values))
    assert list(json_stream.read_values(path)) == values
    path.write_bytes(b'[1,\n 2,\n "abc",\n  tru]')
    with pytest.raises(BadInput, match="line 4, column 3"):
        list(json_stream.read_values(path))


@needs_slice
def test_the_real_slice(run_script, tmp_path):
    out = tmp_path / "records.jsonl"
    result = run_script("workflow", "acquire_raw", kind="file", source=SLICE, records=out)
    assert result.returncode == 0, result.stderr
    with open(out, encoding="utf-8") as lines, lzma.open(SLICE) as packed:
        assert [json.loads(line) for line in lines] == json.load(packed)


def fetch(served, folder: Path, entry: dict[str, Any], **variables: str):
    out = folder / "records.jsonl"
    whole = json.dumps({"repo": REPO, "revision": COMMIT, "file": FILE, **entry})
    options = ("--kind", "huggingface", "--dataset", "law", "--entry", whole, "--records", out)
    return served.run("scripts/acquire_raw.py", *options, TMPDIR=str(folder), **variables), out


def test_a_pinned_dataset_is_fetched_with_the_hubs_own_client(tmp_path):
    content = dumped(RECORDS)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "records": 3}
    with hub(content, token="hf_secret") as served:
        result, out = fetch(served, tmp_path, entry, HF_TOKEN="hf_secret")
    assert result.returncode == 0, result.stderr
    assert [json.loads(line) for line in out.read_text().splitlines()] == RECORDS
    asked = [(method, path) for method, path, _ in served.requests]
    assert ("HEAD", f"/datasets/{REPO}/resolve/{COMMIT}/{FILE}") in asked
    assert ("GET", f"/datasets/{REPO}/resolve/{COMMIT}/{FILE}") in asked
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records.jsonl"]


@pytest.mark.parametrize(
    ("entry", "variables", "words"),
    [
        ({"sha256": None, "records": 3}, {}, ["not pinned", "make pin"]),
        ({"sha256": "0" * 64, "records": 3}, {}, ["expected 0000", "datasets.law.sha256", "got "]),
        ({"records": 4}, {}, ["3 records, but", "says 4"]),
        ({"records": 3, "file": "none.json"}, {}, ["none.json", "cannot be fetched", "404"]),
        ({"records": 3, "repo": "someone/None"}, {}, ["someone/None", "cannot be fetched"]),
        ({"records": 3}, {"HF_TOKEN": "hf_wrong"}, ["cannot be fetched", "401"]),
        ({"records": 3}, {"HF_HUB_OFFLINE": "1"}, ["cannot be fetched"]),
        ({"records": 3, "colour": "red"}, {}, ["datasets.law", "colour"]),
    ],
)
def test_a_dataset_that_cannot_be_had_is_refused(tmp_path, entry, variables, words):
    content = dumped(RECORDS)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), **entry}
    token = "hf_secret" if "HF_TOKEN" in variables else None
    with hub(content, token=token) as served:
        result, out = fetch(served, tmp_path, entry, **variables)
    refused(result, out, *words)
