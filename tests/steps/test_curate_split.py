"""curate_split: what the cleaning does to a text, and that the ledger tells of NeMo Curator's own decisions."""

import itertools
import json
import lzma
import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import SLICE, needs_slice

from split_records import question_and_answer

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WORDS = "word " * 60


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "position": number,
        "title": "A title",
        "question": WORDS,
        "answer": WORDS,
        "question_score": 1,
        "answer_score": 1,
        "answer_id": number + 1,
        "tags": ["a"],
        "license": None,
        "link": None,
        **changes,
    }


@pytest.fixture
def curate(run_script, tmp_path):
    """Run the step on rows with the tutorial's bounds; return the process, the curated rows and the ledger's."""

    def run(rows: list[dict[str, Any]], split: str = "train", filters: str = "on", **options: object):
        records = tmp_path / f"{split}.jsonl"
        records.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        curated, ledger = tmp_path / f"law-qa-{split}.jsonl", tmp_path / f"{split}.parquet"
        defaults = {"min_words": 50, "max_words": 500, "min_score": 0, "null_score": "keep"}
        paths = {"split": split, "records": records, "filters": filters, "curated": curated, "ledger": ledger}
        result = run_script("curate", "curate_split", **paths, **{**defaults, **options})
        if result.returncode:
            assert not list(tmp_path.glob("law-qa-*"))
            assert not list(tmp_path.glob("*.parquet*"))
            return result, [], []
        kept = [json.loads(line) for line in curated.read_text(encoding="utf-8").splitlines()]
        return result, kept, pq.read_table(ledger).to_pylist()

    return run


def test_cleaning(curate):
    """One run for all of it: each text is the question of a record of its own."""
    cases = {
        "<p>One</p><p>two</p><ul><li>three</li><li>four</li></ul>": "One two three four",
        "before<p>inside</p>after": "before inside after",
        "one<br>two<br/>three<hr>four": "one two three four",
        "<b>In</b>line <a href='x'>ta</a>gs, no gap<em>s</em>.": "Inline tags, no gaps.",
        "<table><tr><td>a</td><td>b</td></tr></table>": "a b",
        "<p>Keep <code>if (a &lt; b) { f(&amp;a); }</code></p><pre><code>x = 1\n  y = 2</code></pre>": (
            "Keep if (a < b) { f(&a); } x = 1 y = 2"
        ),
        "AT&amp;T &quot;v.&quot; Smith &mdash; &sect;&nbsp;5 &#8217;s": 'AT&T "v." Smith — § 5 \u2019s',
        "<p>Broken <b>bold <i>both</b> text</i> <p>again <div": "Broken bold both text again",
        "a <!-- hidden --><script>alert(1)</script><style>p {}</style> b": "a b",
        "  \n spaced \t\r\n out\u00a0now\u2003then ": "spaced out now then",
        "The courtâ€™s cafÃ© voilÃ\u00a0 is rÃ©sumÃ©": "The court\u2019s café voilà is résumé",
        "Ã\u0085land and Ã\u0085bo": "Åland and Åbo",
        "C1 \u0093quotes\u0094": "C1 “quotes”",
        "naïve § 5 — “fine” 日本 😀 כן": "naïve § 5 — “fine” 日本 😀 כן",
        "2020-01-31": "2020-01-31",
        "00042": "00042",
        "https://example.com/law.html": "https://example.com/law.html",
        "null": "null",
        "1 < 2 and 3 > 2": "1 < 2 and 3 > 2",
        'a/b \\ "c" \u2028 d': 'a/b \\ "c" d',
    }
    cases |= {
        "&amp;lt;p&amp;gt; &amp;amp;": "&lt;p&gt; &amp;",
        "a List<String> of 10<sup>6</sup>": "a List<String> of 10^6",
        "a<b and c>d": "a<b and c>d",
    }
    titles = {
        "What does <script> mean in <b>clause</b> 4?": "What does <script> mean in clause 4?",
        "&lt;br&gt; or &amp;lt;br&amp;gt;": "<br> or &lt;br&gt;",
        "The courtâ€™s fine of 10<sup>6</sup> euros": "The court\u2019s fine of 10^6 euros",
    }
    rows = [row(n, question=text) for n, text in enumerate(cases)]
    rows += [row(n, title=title) for n, title in enumerate(titles, len(cases))]
    result, kept, _ = curate(rows, filters="off")
    assert result.returncode == 0, result.stderr
    assert result.stderr == "", "a library's warning reached the log"
    assert dict(zip(cases, (one["question"] for one in kept), strict=False)) == cases
    assert dict(zip(titles, (one["title"] for one in kept[len(cases) :]), strict=True)) == titles


def test_a_type_is_never_guessed(curate):
    """All values of a column alike is what makes a table reader see dates, numbers or nothing at all."""
    texts = {"title": "2020-01-31", "question": "42", "answer": "1e5"}
    rows = [row(n, **texts, id=f"{n:03}", question_score=None, answer_score=7) for n in range(3)]
    result, kept, _ = curate(rows, filters="off")
    assert result.returncode == 0, result.stderr
    assert kept == rows
    assert [type(one["answer_score"]) for one in kept] == [int] * 3


CASES = [
    (row(0), None),
    (row(1, question="word " * 50, answer="<p>word</p> " * 500), None),
    (row(2, question="word " * 49), ("word_count", "question", 49, "50..500")),
    (row(3, answer="word " * 501), ("word_count", "answer", 501, "50..500")),
    (row(4, question="word", answer="word"), ("word_count", "question", 1, "50..500")),
    (row(5, question_score=-1), ("min_score", "question_score", -1, "0..")),
    (row(6, answer_score=-7, question_score=0), ("min_score", "answer_score", -7, "0..")),
    (row(7, question_score=None, answer_score=None), None),
    (row(8, title="<p> &nbsp; </p>"), ("has_text", "title", 0, "1..")),
    (row(9, answer="<!-- gone -->", question="word", question_score=-1), ("has_text", "answer", 0, "1..")),
    (row(10, answer="word", question_score=-1), ("word_count", "answer", 1, "50..500")),
]


def reasons(ledger: list[dict[str, Any]]) -> list[tuple | None]:
    columns = ("filter", "field", "measured", "bound")
    return [None if one["outcome"] == "kept" else tuple(one[column] for column in columns) for one in ledger]


def test_the_ledger_names_the_first_filter_that_failed(curate):
    result, kept, ledger = curate([one for one, _ in CASES])
    assert result.returncode == 0, result.stderr
    assert reasons(ledger) == [reason for _, reason in CASES]
    assert [one["id"] for one in kept] == [one["id"] for one, reason in CASES if reason is None]
    assert [(one["record_id"], one["position"], one["split"]) for one in ledger] == [
        (str(n), n, "train") for n in range(len(CASES))
    ]
    assert {one["step"] for one in ledger} == {None, "curate_split"}


def test_without_filters_only_an_emptied_text_is_dropped(curate):
    _, kept, ledger = curate([one for one, _ in CASES], split="val", filters="off")
    assert reasons(ledger) == [reason if reason and reason[0] == "has_text" else None for _, reason in CASES]
    assert len(kept) == len(CASES) - 2
    assert {one["split"] for one in ledger} == {"val"}


def test_words_are_counted_in_scripts_without_blanks(curate):
    chinese = "房东可以因为墙面磨损而扣留全部押金吗" * 3
    _, kept, ledger = curate([row(0, question=chinese), row(1, question=chinese[:49]), row(2, question=chinese * 10)])
    assert reasons(ledger) == [
        None,
        ("word_count", "question", 49, "50..500"),
        ("word_count", "question", 540, "50..500"),
    ]
    assert len(kept) == 1


def test_null_scores_and_bounds_are_the_configurations(curate):
    rows = [row(0), row(1, question_score=None), row(2, answer_score=None), row(3, question="word " * 3)]
    _, _, ledger = curate(rows, null_score="drop", min_words=3, max_words=60, min_score=0.5)
    assert reasons(ledger) == [
        None,
        ("min_score", "question_score", None, "0.5.."),
        ("min_score", "answer_score", None, "0.5.."),
        None,
    ]


def test_an_empty_split_is_refused(curate):
    result, _, _ = curate([row(0, question="short"), row(1, question="short"), row(2, answer_score=-1)])
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    for word in (
        "the train split is empty after curation",
        "3 records: 2 with word_count of question not in 50..500 (it was 1), "
        "1 with min_score of answer_score not in 0.. (it was -1)",
        "words are counted at blanks",
        "curate.min_words",
        "curate.min_score",
        "curate.null_score",
    ):
        assert word in result.stderr


def test_no_records_and_impossible_bounds_are_refused(curate):
    result, _, _ = curate([])
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "the train split holds no record" in result.stderr
    result, _, _ = curate([row(0)], min_words=501)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "curate.min_words 501 is greater than curate.max_words 500" in result.stderr


def posts(count: int) -> list[dict[str, Any]]:
    with lzma.open(SLICE) as packed:
        records = json.load(packed)
    rows = [question_and_answer(position, one) for position, one in enumerate(records) if one["answers"]][:count]
    # The slice has no scores: these cover known ones on both sides of the bound, and unknown ones.
    for number, (one, votes) in enumerate(zip(rows, itertools.cycle([3, None, -1, 0, 12]), strict=False)):
        one |= {"question_score": votes, "answer_score": [0, 5, -2, None][number % 4]}
    return rows


# NeMo Curator alone: its own ScoreFilter drops, its own writer writes. Only the cleaning and MinScore are shared.


@needs_slice
@pytest.mark.parametrize("null_score", ["keep", "drop"])
def test_the_decisions_are_those_of_curators_score_filter(curate, tmp_path, null_score):
    rows = posts(600)
    result, kept, ledger = curate(rows, null_score=null_score)
    assert result.returncode == 0, result.stderr
    plain = subprocess.run(
        [ROOT / ".venvs/curate/bin/python", HERE / "curate_plainly.py", tmp_path / "train.jsonl", tmp_path / "plain",
         null_score],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = [json.loads(line) for line in plain.stdout.splitlines()]
    assert [[one[key] for key in ("id", "title", "question", "answer")] for one in kept] == expected
    assert {one["filter"] for one in ledger} >= {None, "word_count", "min_score"}
    assert 0 < len(kept) < len(rows)


@needs_slice
def test_neither_partitions_nor_a_slurm_array_change_a_byte(tmp_path):
    """Curator left to itself would read a third of the partitions here: the job array's shard."""
    rows = posts(50)
    records = tmp_path / "train.jsonl"
    records.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    bounds = ["--min-words", "50", "--max-words", "500", "--min-score", "0", "--null-score", "keep"]
    array = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "0"}
    made = []
    for shard, variables in (("1000", {}), ("7", array)):
        outputs = [tmp_path / f"{shard}.jsonl", tmp_path / f"{shard}.parquet"]
        command = [ROOT / ".venvs/curate/bin/python", HERE / "curate_in_shards.py", shard, "--split", "train"]
        command += ["--records", records, "--filters", "on", *bounds, "--curated", outputs[0], "--ledger", outputs[1]]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "scripts", "TMPDIR": str(tmp_path), **variables}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        made.append([path.read_bytes() for path in outputs])
    assert made[0] == made[1]
    assert made[0][0].count(b"\n") > 10


@pytest.mark.slow
def test_ray_makes_the_same_bytes(curate, run_script, tmp_path):
    """Of three partitions, which it may finish in any order."""
    records = tmp_path / "train.jsonl"
    curate([row(number, question="short") if number % 3 else row(number) for number in range(2500)])
    whole = [(tmp_path / name).read_bytes() for name in ("law-qa-train.jsonl", "train.parquet")]
    made = {"curated": tmp_path / "ray.jsonl", "ledger": tmp_path / "ray.parquet"}
    bounds = {"filters": "on", "min_words": 50, "max_words": 500, "min_score": 0, "null_score": "keep"}
    done = run_script(
        "curate", "curate_split", split="train", records=records, executor="ray", threads=2, **bounds, **made
    )
    assert done.returncode == 0, done.stderr
    assert [path.read_bytes() for path in made.values()] == whole


@pytest.mark.slow
@pytest.mark.parametrize("shards", [2, 5])
def test_parts_put_together_are_the_whole(curate, run_script, tmp_path, shards):
    """Also where a part has no record, or none that stays."""
    rows = [row(0), row(1, question="short"), row(2, answer_score=None, null=None), row(3, question_score=2.5)]
    curate(rows)
    whole = {name: (tmp_path / name).read_bytes() for name in ("law-qa-train.jsonl", "train.parquet")}
    parts, ledgers = ([tmp_path / f"{shard}.{kind}" for shard in range(shards)] for kind in ("jsonl", "parquet"))
    bounds = {"filters": "on", "min_words": 50, "max_words": 500, "min_score": 0, "null_score": "keep"}
    for shard in range(shards):
        made = {"curated": parts[shard], "ledger": ledgers[shard], "shard": shard, "shards": shards}
        done = run_script("curate", "curate_split", split="train", records=tmp_path / "train.jsonl", **bounds, **made)
        assert done.returncode == 0, done.stderr
    assert sum(not part.read_bytes() for part in parts) == (0 if shards == 2 else 2)
    joined = {"curated": tmp_path / "joined.jsonl", "ledger": tmp_path / "joined.parquet"}
    done = run_script("curate", "join_shards", split="train", parts=parts, ledgers=ledgers, **joined)
    assert done.returncode == 0, done.stderr
    assert [path.read_bytes() for path in joined.values()] == list(whole.values())


def test_parts_of_which_nothing_is_left(run_script, tmp_path):
    from adapter_build.records.ledger import write_ledger

    dropped = {"record_id": "1", "position": 0, "split": "val", "outcome": "dropped", "filter": "word_count"}
    write_ledger(tmp_path / "0.parquet", [dropped | {"field": "question", "bound": "50..500"}])
    (tmp_path / "0.jsonl").touch()
    joined = {"curated": tmp_path / "joined.jsonl", "ledger": tmp_path / "joined.parquet"}
    done = run_script(
        "curate", "join_shards", split="val", parts=tmp_path / "0.jsonl", ledgers=tmp_path / "0.parquet", **joined
    )
    assert done.returncode == 2 and "1 with word_count of question not in 50..500" in done.stderr, done.stderr
    assert not joined["curated"].exists() and not joined["ledger"].exists()
