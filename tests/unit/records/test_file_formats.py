"""Files that are no records: each is named by what stands in it, whatever its name, and the way out works."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import shlex
import sqlite3
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_acquire_raw import RECORDS, dumped

from adapter_build.core.faults import BadInput
from adapter_build.records.file_formats import name_bytes, name_text
from adapter_build.records.raw_records import read_raw_records

ROOT = Path(__file__).parents[3]
quick = settings(derandomize=True, deadline=None, max_examples=200)


def complaint(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        list(read_raw_records(path, ROOT / "schemas/raw-record.schema.json"))
    message = str(refused.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


def in_memory(write: Any) -> bytes:
    held = io.BytesIO()
    write(held)
    return held.getvalue()


def tar(held: io.BytesIO) -> None:
    with tarfile.open(fileobj=held, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("raw.json"))


def zipped(*names: str) -> Any:
    def write(held: io.BytesIO) -> None:
        with zipfile.ZipFile(held, "w") as archive:
            for name in names:
                archive.writestr(name, b"[]")

    return write


TABLE = pyarrow.Table.from_pylist(RECORDS)
FORMATS = {
    "Parquet": in_memory(lambda held: pyarrow.parquet.write_table(TABLE, held)),
    "7z archive": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(256),
    "Zstandard": pyarrow.Codec("zstd").compress(dumped(RECORDS), asbytes=True),
    "zip archive": in_memory(zipped("raw.json")),
    "an Office document (an Excel": in_memory(zipped("[Content_Types].xml", "xl/workbook.xml")),
    "tar archive": in_memory(tar),
    "pickle": pickle.dumps(RECORDS),
    "RTF": b"{\\rtf1 [] }",
    "UTF-16": json.dumps(RECORDS).encode("utf-16"),
    "UTF-32": json.dumps(RECORDS).encode("utf-32"),
    "UTF-16LE": json.dumps(RECORDS).encode("utf-16-le"),
    "UTF-32BE": json.dumps(RECORDS).encode("utf-32-be"),
    "WINDOWS-1252": '[{"question_title": "Fälle"}]'.encode("latin-1"),
    "XML": b"<?xml version='1.0'?><records/>",
    "Stack Exchange dump": b"\xef\xbb\xbf<?xml version='1.0'?>\n<posts>\n<row Id='7' /></posts>",
    "HTML page": b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    "CSV": b'question_id,question_title,question_body\n1,Who pays?,"<p>Who, and when?</p>"\n',
    "TSV": b"question_id\tquestion_title\n1\tWho pays?\n",
    "CSV,": b'1,"Who pays?","<p>Who?</p>"\n2,"When?","<p>When?</p>"\n3,a,b\n',
    "SQL": b"-- MySQL dump\nCREATE TABLE posts (id int);\n",
    "Python literal": repr(RECORDS).encode(),
    "YAML": b"- question_id: 1\n  question_title: Who pays?\n",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_format_is_named(tmp_path, kind, pack):
    """Also where it is packed, and named .json."""
    found = complaint(tmp_path / "raw.json", pack(FORMATS[kind]))
    assert kind.rstrip(",") in found
    assert "raw.json" in found or "JSON Lines" in found or ": " in found


def test_an_sqlite_database_is_named(tmp_path):
    with sqlite3.connect(tmp_path / "posts.db") as database:
        database.execute("CREATE TABLE posts (id int)")
    found = complaint(tmp_path / "raw.json", (tmp_path / "posts.db").read_bytes())
    assert "an SQLite database" in found and "sqlite3 -json" in found


@quick
@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers()), min_size=1, max_size=4),
       st.sampled_from([None, 1]))  # fmt: skip
def test_no_json_is_taken_for_another_format(records, indent):
    """The twin of the tests above."""
    for text in (json.dumps(records, indent=indent), *(json.dumps(one, ensure_ascii=False) for one in records)):
        head = text.encode("utf-8", errors="ignore")[:1024]
        assert name_bytes(head, Path("raw.json")) is None
        assert name_text(head.decode("utf-8", errors="ignore"), Path("raw.json")) is None


@quick
@given(st.binary(max_size=300), st.sampled_from([b"", b"\xfd7zXZ\0", b"\x1f\x8b", b"BZh9", b"PK\x03\x04", b"[", b"{"]))
def test_whatever_the_bytes_there_is_one_line(tmp_path_factory, content, beginning):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(beginning + content)
    with pytest.raises(BadInput, match=r"any\.json: "):
        list(read_raw_records(path, ROOT / "schemas/raw-record.schema.json"))


ASKED, SAID = "Who pays?\nThe landlord says me.", "The tenant <b>."
SHAPES = {
    "Alpaca": [{"instruction": "Who pays?", "input": ASKED, "output": SAID}],
    "ShareGPT": [{"id": "x", "conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": SAID}]}],
    "chat messages": [{"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]}],
    "prompts and completions": [{"prompt": ASKED, "completion": SAID}],
    "without titles": [{"question": ASKED, "answer": SAID}],
    "column-wise": {key: {str(n): one[key] for n, one in enumerate(RECORDS[:2])} for key in RECORDS[0]},
    "column-wise: ": {key: [one[key] for one in RECORDS[:2]] for key in RECORDS[0]},
    "under the key 'data'": {"version": "1.1", "data": RECORDS[:2]},
    "under the key 'my posts'": {"my posts": RECORDS[:2]},
    "under the keys 'rows'": {"rows": [{"row_idx": n, "row": one} for n, one in enumerate(RECORDS[:2])]},
    "under the keys 'train', 'test'": {"train": RECORDS[:1], "test": RECORDS[1:2]},
    "by their ids": {"7": RECORDS[0], "3": RECORDS[1]},
    "holds lists": [RECORDS[:2]],
    "Stack Exchange's API": [
        {"question_id": 7, "title": "Who pays?", "body": "<p>Who?</p>", "tags": [], "score": 1, "link": "",
         "content_license": "CC BY-SA 4.0", "answers": [{"answer_id": 1, "body": "<p>I</p>", "score": 2, "owner": {}}]}
    ],
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_the_command_makes_records_of_another_shape(tmp_path, shape):
    source = tmp_path / "o'her.json"
    found = complaint(source, json.dumps(SHAPES[shape]).encode())
    assert shape in found
    subprocess.run(f"jq{found.split('jq', 1)[1]}", shell=True, cwd=tmp_path, check=True, executable="/bin/bash")
    made = list(read_raw_records(tmp_path / "raw.json", ROOT / "schemas/raw-record.schema.json"))
    if RECORDS[0] in made:
        assert made == RECORDS[:2]
    else:
        assert made[0]["question_title"].startswith("Who pays?")
        assert "tenant &lt;b&gt;" in made[0]["answers"][0]["body"] or "API" in shape


def test_shapes_without_a_command_are_named_too(tmp_path):
    path = tmp_path / "raw.json"
    assert "preference pairs" in complaint(path, dumped([{"prompt": "a", "chosen": "b", "rejected": "c"}]))
    assert "SQuAD" in complaint(path, dumped([{"title": "a", "paragraphs": []}]))
    assert "texts alone" in complaint(path, b'{"text": "a"}\n{"text": "b"}\n')
    finished = {"id": 1, "title": "a", "question": "b", "answer": "c"}
    assert "data.source: curated" in complaint(path, dumped([finished]))
    # The twin: a record of ours that lacks a field is one.
    assert "has no field license" in complaint(path, dumped([{**RECORDS[0], "license": 1} | {"license": None}, {
        key: value for key, value in RECORDS[1].items() if key != "license"}]))  # fmt: skip


@pytest.mark.parametrize("kind", ["Parquet", "CSV", "TSV", "Python literal", "YAML"])
def test_the_command_makes_json_of_another_format(tmp_path, kind):
    source = tmp_path / "o'her.data"
    found = complaint(source, FORMATS[kind])
    command = re.search(r"\.venvs/workflow/bin/python -c (.*)", found)
    assert command
    program = shlex.split(command[1].replace(", with the fields", " # with the fields"), comments=True)[0]
    subprocess.run([ROOT / ".venvs/workflow/bin/python", "-c", program], cwd=tmp_path, check=True)
    made = json.loads((tmp_path / "raw.json").read_text())
    assert str(made[0]["question_id"]) in ("1", "7")
    if kind in ("Parquet", "Python literal"):
        assert [one["question_id"] for one in made] == [one["question_id"] for one in RECORDS]
