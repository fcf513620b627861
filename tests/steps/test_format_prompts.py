"""format_prompts: the projects' programs make the prompts they should, and a program that does not is refused."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = {
    "id": "7",
    "title": "Is a sign binding?",
    "question": "A shop's sign says “no refunds”.",
    "answer": "It depends.",
}


@pytest.fixture
def format_prompts(run_script, tmp_path):
    """Run the step on a program's text and rows; return the process and the path it was to write."""

    def run(program: str | Path, *rows: dict):
        if isinstance(program, str):
            (tmp_path / "program.jq").write_text(program)
            program = tmp_path / "program.jq"
        curated = tmp_path / "law-qa-train.jsonl"
        curated.write_text("".join(json.dumps(row) + "\n" for row in rows or (ROW, ROW | {"id": "8"})))
        out = tmp_path / "prompts.jsonl"
        return run_script("workflow", "format_prompts", program=program, curated=curated, prompts=out), out

    return run


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_titlegen_has_the_tutorials_wording(format_prompts):
    result, out = format_prompts(ROOT / "prompts/law-titlegen.jq", ROW)
    assert result.returncode == 0, result.stderr
    tutorial = (
        "Generate a concise, engaging title for the following legal question on an internet forum. The title should be "
        "legally relevant, capture key aspects of the issue, and entice readers to learn more. \nQUESTION: "
        f"{ROW['question']} \nTITLE: "
    )
    assert rows_of(out) == [{"id": "7", "input": tutorial.rstrip(" "), "output": ROW["title"]}]


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ("It depends.", "It depends."),
        ("No. A sign on a wall binds nobody. Ask a lawyer.", "No. A sign on a wall binds nobody."),
        ("Under U.S. law a sign may bind. Ask.", "Under U.S. law a sign may bind."),
        ("See Smith v. Jones for it. Ask.", "See Smith v. Jones for it."),
        ("no full stop here at all", "no full stop here at all"),
        (" ".join(f"w{n}" for n in range(60)), " ".join(f"w{n}" for n in range(40))),
    ],
)
def test_answer_is_a_first_sentence(format_prompts, answer, output):
    result, out = format_prompts(ROOT / "prompts/law-answer.jq", ROW | {"answer": answer})
    assert result.returncode == 0, result.stderr
    [row] = rows_of(out)
    assert row["output"] == output
    assert row["input"].endswith(f"QUESTION: {ROW['question']} \nANSWER:")


def test_prompts_keep_the_order(format_prompts):
    rows = [ROW | {"id": str(number)} for number in (3, 1, 2)]
    _, out = format_prompts("{input: .id, output: .title}", *rows)
    assert [row["id"] for row in rows_of(out)] == ["3", "1", "2"]
    assert [row["input"] for row in rows_of(out)] == ["3", "1", "2"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("{input: .title,,}", ["not a jq program", "syntax error", "line 1"]),
        ("{input: title}", ["not a jq program", "title/0 is not defined"]),
        ("", ["not a jq program"]),
        (".", ["record 7", "must make an object", "it made keys answer, id, question, title"]),
        ("{input: .title.x, output: .title}", ["record 7", "Cannot index string"]),
        ("{input: .title}", ["record 7", "it made keys input"]),
        ("{input: .title, output: .title, id: 1}", ["record 7", "it made keys id, input, output"]),
        ("[.title]", ["record 7", "it made list"]),
        ("empty", ["record 7", "made 0 results"]),
        ("{input: .title, output: (.title, .answer)}", ["record 7", "made 2 results"]),
        ('{input: (.title + "\\n"), output: .title}', ["record 7", "input ends in a blank"]),
        ('{input: .title, output: (.title + " ")}', ["record 7", "output ends in a blank"]),
        ('{input: .title, output: " "}', ["record 7", "output must be a text that is not empty"]),
        ("{input: .missing, output: .title}", ["record 7", "input must be a text", "None"]),
        ('{input: .id, output: (if .id == "8" then 8 else .title end)}', ["record 8", "output must be a text"]),
    ],
)
def test_a_program_that_makes_no_prompt_is_refused(format_prompts, program, words):
    result, out = format_prompts(program)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    for word in ("error: ", "program.jq: ", *words):
        assert word in result.stderr
    assert not list(out.parent.glob("prompts.jsonl*"))


def test_a_missing_program_is_refused(format_prompts, tmp_path):
    result, _ = format_prompts(tmp_path / "none.jq")
    assert result.returncode == 2
    assert "none.jq: no such file" in result.stderr
