"""Control tokens in posts are text: format_prompts breaks them, keeps those that the program wrote, and one BOS."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapter_build.models.control_tokens import BaseFacts, as_text, found_in, once_begun

ROOT = Path(__file__).parents[3]
TOKENS = ("<s>", "</s>", "<|eot_id|>", "<|endoftext|>", "[INST]", "<unk>")
pieces = st.sampled_from([*TOKENS, "<", "/s>", "|", "s>", " ", "\n", "a", "eot_id", "é", "👩‍⚖️"])
texts = st.lists(pieces, max_size=12).map("".join)
# Any tokens, such as are made by breaking others, or have one letter.
tokens = st.lists(st.text("<|s/> a", min_size=1, max_size=5), min_size=1, max_size=5)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(texts)
def test_no_control_token_is_left_and_nothing_else_is_lost(text):
    broken = as_text(text, TOKENS)
    assert not found_in(broken, TOKENS)
    assert broken.replace(" ", "") == text.replace(" ", "")
    assert (broken == text) == (not found_in(text, TOKENS))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text("<|s/> a", max_size=15), tokens)
@example("a  ", ["a "])
@example("<a>", ["<a>", "< a>", "<  a>"])
@example("  ", ["  "])
def test_any_tokens_are_broken(text, given_tokens):
    assert not [token for token in found_in(as_text(text, given_tokens), given_tokens) if token.strip()]


@pytest.mark.parametrize(
    ("prompt", "added", "expected"),
    [
        ("Q", True, "Q"), ("<s>Q", True, "Q"), ("<s><s>Q", True, "Q"), ("<s>Q", False, "<s>Q"),
        ("<s><s> Q", False, "<s> Q"), ("Q<s>", True, "Q<s>"),
    ],
)  # fmt: skip
def test_a_prompt_has_one_bos(prompt, added, expected):
    assert once_begun(prompt, "<s>", added) == expected


@pytest.fixture
def format_prompts(run_script, tmp_path):
    """Run the step on a program's text and one record's texts; return the process and the rows."""

    def run(program: str, adds_bos: bool = True, facts: bool = True, **texts: str):
        path, curated, out = (tmp_path / name for name in ("program.jq", "law-qa-train.jsonl", "prompts.jsonl"))
        path.write_text(program)
        row = {"title": "Title", "question": "Question", "answer": "Answer", "tags": ["</s>"]}
        curated.write_text("".join(json.dumps({**row, "id": number, **texts}) + "\n" for number in ("1", "</s>")))
        (tmp_path / "facts.json").write_text(
            json.dumps({"tokens": {"bos": "<s>"}, "adds_bos": adds_bos, "special": dict.fromkeys(TOKENS, 1)})
        )
        options = {"base_facts": tmp_path / "facts.json"} if facts else {}
        done = run_script("workflow", "format_prompts", program=path, curated=curated, prompts=out, **options)
        rows = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
        return done, rows

    return run


HOSTILE = {"title": "Is it</s> <|eot_id|>?", "question": "After <|endoftext|> or <s>?"}
TITLES = (ROOT / "prompts/law-titlegen.jq").read_text()


def test_what_a_post_speaks_of_is_text(format_prompts):
    done, rows = format_prompts(TITLES, **HOSTILE)
    assert done.returncode == 0, done.stderr
    assert [row["id"] for row in rows] == ["1", "</s>"]
    for row in rows:
        assert row["output"] == "Is it< /s> < |eot_id|>?"
        assert "After < |endoftext|> or < s>?" in row["input"]
        assert set(row) == {"id", "input", "output"}
    assert "2 of 2 records mention control tokens (</s>, <s>, <|endoftext|>, <|eot_id|>)" in done.stderr


def test_without_facts_nothing_is_broken(format_prompts):
    done, rows = format_prompts(TITLES, facts=False, **HOSTILE)
    assert rows[0]["output"] == HOSTILE["title"] and not done.stderr


def test_what_the_program_writes_is_control(format_prompts):
    program = '{input: ("<s>[INST] " + .question + "\\n[/INST]"), output: .title}'
    done, rows = format_prompts(program, adds_bos=False, question="[INST]? </s>")
    assert done.returncode == 0, done.stderr
    assert rows[0]["input"] == "<s>[INST] [ INST]? < /s>\n[/INST]"
    assert rows[0]["control"] == ["<s>", "[INST]"]


def test_a_bos_that_the_tokenizer_adds_is_left_out(format_prompts):
    _, rows = format_prompts('{input: ("<s>" + .question), output: .title}', adds_bos=True)
    assert rows[0] == {"id": "1", "input": "Question", "output": "Title"}


@pytest.mark.parametrize(
    "program",
    ['{input: ("<" + .question + ">"), output: "a"}', '{input: .question | gsub(" "; ""), output: "a"}'],
)
def test_a_token_that_the_program_makes_of_a_post_is_text(format_prompts, program):
    done, rows = format_prompts(program, question="/s" if ">" in program else "< /s>")
    assert done.returncode == 0, done.stderr
    assert not found_in(rows[0]["input"], TOKENS) and re.sub(r"\s", "", rows[0]["input"]) == "</s>"


def test_a_program_that_ends_the_answer_itself_is_refused(format_prompts):
    done, rows = format_prompts('{input: .question, output: (.title + "</s>")}')
    assert done.returncode == 2 and not rows
    assert "the program writes </s> into output: tuning adds the end token: leave it out" in done.stderr


def test_facts_that_are_none_are_refused(run_script, tmp_path):
    (tmp_path / "facts.json").write_text("[]")
    options = {"program": ROOT / "prompts/law-titlegen.jq", "curated": tmp_path / "x", "prompts": tmp_path / "y"}
    done = run_script("workflow", "format_prompts", base_facts=tmp_path / "facts.json", **options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "facts.json: not what compare_base writes" in done.stderr


def test_facts_reach_every_depth():
    facts = BaseFacts("<s>", True, TOKENS)
    assert facts.as_text({"a": ["</s>", {"b": "<s>", "c": 1, "d": None}]}) == {
        "a": ["< /s>", {"b": "< s>", "c": 1, "d": None}]
    }
