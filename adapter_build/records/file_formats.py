"""File formats given in place of JSON, recognised by their first bytes, each with a command that converts it."""

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


# Name, first bytes, and the mend: a text, or a function from the file's name to one.
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
    """Name the format of a file that begins with `head`, with its mend; None where it may be a text in UTF-8."""
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
    """Name the format of a text that begins with `head`, with its mend; None where it may be JSON."""
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
    """Return a table's delimiter, by a line of names or by rows of three columns or more; None for no table."""
    if found := DELIMITED.match(head):
        return found[1]
    lines = head.splitlines()[:5]
    for delimiter in "\t,;":
        columns = {len(row) for row in csv.reader(lines[:-1], delimiter=delimiter) if row}
        if len(lines) > 2 and len(columns) == 1 and columns.pop() > 2:
            return delimiter
    return None
