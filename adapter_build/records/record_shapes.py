"""Shapes of records that are not the raw schema's, recognised by the first record, each with a command that maps it."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapter_build.records.file_formats import INTO

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
    """Name the shape of the records in a file whose first is `first`, with its mend; None for an unknown shape.

    `expected`, raw or curated, is the shape that is right here: None for that, too.
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
        return None  # a raw record that lacks a field: the schema says which
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
    """Tell if an object is a table by columns: (of lists, of objects whose keys are the rows)."""
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
