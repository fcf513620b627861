"""Names for files that are not the JSON they should be, by what stands in them, each with what to do."""

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAD = 1024  # bytes or characters of a file's beginning that name it
PYTHON = ".venvs/workflow/bin/python -c"
INTO = "with the fields of schemas/raw-record.schema.json"
UNPACK = "unpack it: {}"


def _script(program: str) -> str:
    return f"convert it: {PYTHON} {shlex.quote(program)}"


def _table(read: str) -> Callable[[str], str]:
    return lambda name: _script(f'import json, {read.format(f=json.dumps(name))}, open("raw.json", "w"), default=str)')


# Name, the bytes at its beginning, what to do: a text, or what makes one of the file's name.
BINARY: list[tuple[str, bytes, Any]] = [
    ("Parquet", b"PAR1", _table("pyarrow.parquet as p; json.dump(p.read_table({f}).to_pylist()")),
    ("Arrow", b"ARROW1", _table("pyarrow as p; json.dump(p.ipc.open_file({f}).read_all().to_pylist()")),
    ("Feather", b"FEA1", _table("pyarrow.feather as p; json.dump(p.read_table({f}).to_pylist()")),
    ("ORC", b"ORC", _table("pyarrow.orc as p; json.dump(p.read_table({f}).to_pylist()")),
    ("Avro", b"Obj\x01", "convert it to JSON Lines"),
    ("a 7z archive", b"7z\xbc\xaf\x27\x1c", lambda name: UNPACK.format(f"7z x {shlex.quote(name)}")),
    ("Zstandard (zst)", b"\x28\xb5\x2f\xfd", lambda name: UNPACK.format(f"zstd -d {shlex.quote(name)} -o raw.json")),
    ("LZ4", b"\x04\x22\x4d\x18", lambda name: UNPACK.format(f"lz4 -d {shlex.quote(name)} raw.json")),
    ("lzip", b"LZIP", lambda name: UNPACK.format(f"lzip -dk {shlex.quote(name)}")),
    ("a RAR archive", b"Rar!\x1a\x07", lambda name: UNPACK.format(f"unrar x {shlex.quote(name)}")),
    ("compress (.Z)", b"\x1f\x9d", lambda name: UNPACK.format(f"zcat {shlex.quote(name)} > raw.json")),
    ("an SQLite database", b"SQLite format 3\0",
     lambda name: f"export it: sqlite3 -json {shlex.quote(name)} 'SELECT * FROM posts' > raw.json (your own table)"),
    ("an old Excel file", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save it as JSON or CSV, and convert that"),
    ("RTF", b"{\\rtf", "save it as plain text, and convert that"),
    ("a PDF", b"%PDF-", "bring the data that it was made of"),
    ("an HDF5 file", b"\x89HDF\r\n\x1a\n", "convert it to JSON Lines"),
    ("a NumPy array", b"\x93NUMPY", "convert it to JSON Lines"),
]  # fmt: skip
PICKLE = re.compile(rb"\x80[\x02-\x05][\x95\]\}\(cX\x8c]")
UNICODE = [
    ("UTF-32", rb"\xff\xfe\0\0|\0\0\xfe\xff"), ("UTF-16", rb"\xff\xfe|\xfe\xff"),
    ("UTF-32LE", rb"[^\0]\0\0\0"), ("UTF-32BE", rb"\0\0\0[^\0]"),
    ("UTF-16LE", rb"[^\0]\0[^\0]\0"), ("UTF-16BE", rb"\0[^\0]\0[^\0]"),
]  # fmt: skip
COLUMN = r'(?:"[^"\n]{1,60}"|[\w.\-]+(?: [\w.\-]+){0,3})'
DELIMITED = re.compile(rf"{COLUMN}(?:([,;\t|]){COLUMN})(?:\1{COLUMN})*[ \t]*(?:\r?\n|$)")


def name_bytes(head: bytes, path: Path) -> str | None:
    """Return what a file is that begins with `head` and is no text in UTF-8, and what to do; None if it may be one."""
    name = str(path)
    for kind, magic, mend in BINARY:
        if head.startswith(magic):
            return f"is {kind}, not JSON: {mend if isinstance(mend, str) else mend(name)}"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if any(part in head for part in (b"[Content_Types].xml", b"xl/", b"opendocument")):
            return "is an Office document (an Excel workbook, or the like), not JSON: save it as CSV, and convert that"
        return f"is a zip archive, not JSON: {UNPACK.format(f'unzip {shlex.quote(name)}')}"
    if head[257:262] == b"ustar":
        return f"is a tar archive, not JSON: {UNPACK.format(f'tar -xf {shlex.quote(name)}')}"
    if PICKLE.match(head):
        return "is a Python pickle, not JSON: it runs code where it is opened; convert it where you trust its maker"
    for coding, pattern in UNICODE:
        if re.match(pattern, head, re.DOTALL):
            return f"is {coding}, not UTF-8: convert it: iconv -f {coding} -t UTF-8 {shlex.quote(name)} > raw.json"
    return None


def name_text(head: str, path: Path) -> str | None:
    """Return what a text is that begins with `head` and is no JSON, and what to do; None if it may be JSON."""
    head, name = head.lstrip(), str(path)
    if not head:
        return None
    lower = head.lower()
    if head.startswith("version https://git-lfs"):
        return f"is a Git LFS pointer, not the data: git lfs pull --include {shlex.quote(name)}"
    if re.match(r"<(!doctype\s+html|html|head|body)\b", lower):
        return "is an HTML page, not JSON: fetch the file itself, not the page that shows it"
    if head.startswith("<"):
        if "<posts" in lower or "<row " in lower:
            return (
                "is XML, a Stack Exchange dump, not JSON: join each question (PostTypeId 1) with its answers "
                f"(PostTypeId 2, by ParentId) into JSON Lines {INTO}"
            )
        return f"is XML, not JSON: convert it to JSON Lines {INTO}"
    if re.match(r"\[?\s*\{\s*'", head):
        program = (
            f'import ast, json; json.dump(ast.literal_eval(open({json.dumps(name)}).read()), open("raw.json", "w"))'
        )
        return f"is a Python literal, not JSON: {_script(program)}"
    if re.match(r"(--|/\*!|create table|insert into|pragma |begin transaction)", lower):
        return f"is SQL, not JSON: load it into a database and export JSON Lines {INTO}"
    if head[0] not in "[{" and (delimiter := _delimiter(head)):
        kind = "TSV" if delimiter == "\t" else "CSV"
        opened = f'open({json.dumps(name)}, newline="", encoding="utf-8-sig")'
        rows = f"csv.DictReader({opened}, delimiter={json.dumps(delimiter)})"
        program = f'import csv, json; json.dump(list({rows}), open("raw.json", "w"))'
        return f"is {kind}, not JSON: {_script(program)}, {INTO}, answers nested"
    if re.match(r"(---\s*\n|- ?\w+:|\w+:\s)", head):
        program = f'import json, yaml; json.dump(yaml.safe_load(open({json.dumps(name)})), open("raw.json", "w"))'
        return f"is YAML, not JSON: {_script(program)}"
    return None


def _delimiter(head: str) -> str | None:
    """Return what divides the columns of a table: by a line of names, or by rows of three columns or more."""
    if found := DELIMITED.match(head):
        return found[1]
    lines = head.splitlines()[:5]
    for delimiter in "\t,;":
        columns = {len(row) for row in csv.reader(lines[:-1], delimiter=delimiter) if row}
        if len(lines) > 2 and len(columns) == 1 and columns.pop() > 2:
            return delimiter
    return None


RAW = ("question_id", "question_title", "question_body", "answers")
EMPTY = "tags: null, score: null, license: null, link: null"
NUMBERED = '[inputs | (if type == "array" then .[] else . end)] | to_entries | map(.key as $n | .value | {})'
MAKE = (
    "{{question_id: $n, {empty}, question_title: ({title}), question_body: ({body} | @html), "
    "answers: [{{answer_id: null, score: null, body: ({answer} | @html)}}]}}"
)


def _mapped(title: str, body: str, answer: str) -> Callable[[str], str]:
    program = NUMBERED.format(MAKE.format(empty=EMPTY, title=title, body=body, answer=answer))
    return lambda name: f"map its fields, for instance: jq -n '{program}' {name} > raw.json"


def _turns(key: str, role: str, asked: str, answered: str, text: str) -> Callable[[str], str]:
    first = f'first(.{key}[] | select(.{role} == "{{}}") | .{text})'
    question, answer = first.format(asked), first.format(answered)
    return _mapped(f'{question} | split("\\n")[0]', question, answer)


def name_records(first: Any, path: Path, expected: str) -> str | None:
    """Return what a file of records holds whose first is `first`, and what to do; None if its shape is not known.

    `expected`, raw or curated, is the shape that is none to complain of.
    """
    name = shlex.quote(str(path))
    if isinstance(first, list):
        return f"holds lists, not records: if they are lists of records, join them: jq 'add' {name} > raw.json"
    if not isinstance(first, dict) or not first:
        return None
    keys = first.keys()
    if expected == "curated" and {"question", "answer"} <= keys:
        return None
    if {"id", "title", "question", "answer"} <= keys:
        return (
            "holds finished records (id, title, question, answer), not raw ones: bring law-qa-{train,val,test}.jsonl "
            "in one folder, and set data.source: curated and data.path: that folder"
        )
    if set(RAW) <= keys and not all(isinstance(first[key], dict | list) for key in RAW):
        return None if expected == "raw" else "holds raw records, not finished ones: set data.source: file"
    ours = set(RAW) & keys
    if (len(ours) > 2 or (len(ours) == 2 and "title" not in keys)) and not any(_columns(first)):
        return None  # a record of ours that lacks something
    for kind, has, mend in SHAPES:
        if has(first):
            return f"holds {kind}, not records of this schema: {mend(name)}"
    return _nested(first, name)


SHAPES: list[tuple[str, Callable[[dict[str, Any]], bool], Callable[[str], str]]] = [
    ("Alpaca records (instruction, input, output)", lambda one: {"instruction", "output"} <= one.keys(),
     _mapped(".instruction", '.input // ""', ".output")),
    ("ShareGPT conversations (from, value)", lambda one: _talks(one, "conversations", "from"),
     _turns("conversations", "from", "human", "gpt", "value")),
    ("chat messages (role, content)", lambda one: _talks(one, "messages", "role"),
     _turns("messages", "role", "user", "assistant", "content")),
    ("chat messages (role, content)", lambda one: _talks(one, "conversations", "role"),
     _turns("conversations", "role", "user", "assistant", "content")),
    ("preference pairs (prompt, chosen, rejected)", lambda one: {"prompt", "chosen", "rejected"} <= one.keys(),
     lambda name: "map prompt and chosen to a question and its answer"),
    ("prompts and completions", lambda one: {"prompt", "completion"} <= one.keys(),
     _mapped('.prompt | split("\\n")[0]', ".prompt", ".completion")),
    ("prompts and responses", lambda one: {"prompt", "response"} <= one.keys(),
     _mapped('.prompt | split("\\n")[0]', ".prompt", ".response")),
    ("SQuAD articles (paragraphs)", lambda one: "paragraphs" in one, lambda name: f"map its qas to records {INTO}"),
    ("questions and answers without titles", lambda one: {"question", "answer"} <= one.keys(),
     _mapped('.question | split("\\n")[0]', ".question", ".answer")),
    ("texts alone", lambda one: one.keys() in ({"text"}, {"text", "meta"}, {"id", "text"}),
     lambda name: f"a title is learned from a question and its answer: bring records {INTO}"),
    ("posts of Stack Exchange's API", lambda one: {"question_id", "title"} <= one.keys(), lambda name: (
        "map its fields: jq '[(.items? // .)[] | {question_id, tags, score, license: .content_license, link, "
        "question_title: .title, question_body: .body, answers: [.answers[]? | {answer_id, body, score}]}]' "
        f"{name} > raw.json")),
    ("rows of a Stack Exchange dump", lambda one: {"Id", "PostTypeId"} <= one.keys(), lambda name: (
        f"join each question (PostTypeId 1) with its answers (by ParentId) into JSON Lines {INTO}")),
]  # fmt: skip


def _talks(record: dict[str, Any], key: str, role: str) -> bool:
    turns = record.get(key)
    return isinstance(turns, list) and bool(turns) and isinstance(turns[0], dict) and role in turns[0]


def _columns(first: dict[str, Any]) -> tuple[bool, bool]:
    """Say whether an object is a table by columns: of lists, or of objects whose keys are the rows."""
    values = list(first.values())
    lists = all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1
    objects = all(isinstance(value, dict) for value in values) and len({tuple(value) for value in values}) == 1
    lists = lists and not all(value and isinstance(value[0], dict) for value in values)
    return lists and len(values) > 1, objects and len(values) > 1 and all(map(str.isdigit, values[0]))


def _nested(first: dict[str, Any], name: str) -> str | None:
    if any(_columns(first)):
        turned = "[(first(.[]) | keys_unsorted[]) as $i | map_values(.[$i])]"
        return f"holds its records column-wise: turn them: jq '{turned}' {name} > raw.json"
    inner = [key for key, value in first.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if inner:
        shown = ", ".join(map(repr, inner))
        step = ".row" if all("row" in first[key][0] for key in inner) else ""
        places = [f".{key}" if re.fullmatch(r"[A-Za-z_]\w*", key) else f".[{json.dumps(key)}]" for key in inner]
        if len(places) == 1 and not step:
            return f"holds its records under the key {shown}: take them out: jq '{places[0]}' {name} > raw.json"
        program = f"[{', '.join(f'{place}[]{step}' for place in places)}]"
        return f"holds its records under the keys {shown}: take them out: jq '{program}' {name} > raw.json"
    values = list(first.values())
    if all(isinstance(value, dict) and len(set(RAW) & value.keys()) >= 2 for value in values):
        return f"is one object of records by their ids: make it an array: jq '[.[]]' {name} > raw.json"
    return None
