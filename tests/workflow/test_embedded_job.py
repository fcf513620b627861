"""The README's first command, once, for real: `make` on a clean checkout, then what a person does with the result."""

import json
import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import openai
import pytest
from conftest import ROOT, Checkout, needs_slice
from equal_titles import PROMPTS, by_transformers, count_equal
from jsonschema import Draft202012Validator
from pinned_losses import misfits, pinned
from serve_build import serving
from skipped import wanting
from tiny_chain import python, script

from adapter_build.core.jsonl import read_jsonl
from adapter_build.lineage.results_folder import artifacts
from adapter_build.workflow.configuration import read_config

HERE = Path(__file__).parent
pytestmark = [pytest.mark.slow, pytest.mark.engine]
PROMPTS_OF = {"train": "train", "validation": "val"}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A clean checkout in which `make` has run, and what it printed."""
    made = Checkout(tmp_path_factory.mktemp("job") / "checkout")
    made.fill()
    # As from within another make, which is how `make test` runs this.
    environment = {**os.environ, "MAKELEVEL": "1", "MAKEFLAGS": " --no-print-directory"}
    done = subprocess.run(["make"], cwd=made.folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return made, done


def test_it_ends_with_six_lines(job):
    _, done = job
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 6, done.stdout
    assert "law-titlegen" in lines[0]
    assert all(len(line) <= 100 for line in lines)


def test_nothing_is_printed_that_a_person_cannot_use(job):
    _, done = job
    for noise in ("Warning", "WARNING", "Traceback", "deprecated", "rule ", "Singularity", "profile"):
        assert noise not in done.stderr + done.stdout
    steps = [line.split()[0] for line in done.stderr.splitlines() if line.startswith("  ")]
    assert "tune_adapter/law-titlegen" in steps and "check_deployment" in steps


def test_sentinel(job):
    made, _ = job
    ready = json.loads((made.folder / "results/deploy/ready.json").read_text())
    schema = json.loads((ROOT / "schemas/ready.schema.json").read_text())
    Draft202012Validator(schema).validate(ready)
    jq = subprocess.run(
        ["jq", "-r", ".engine, .adapters[].name"],
        input=json.dumps(ready), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert jq.stdout.split() == ["embedded", "law-titlegen"]
    [adapter] = ready["adapters"]
    assert adapter["answer"] != adapter["base_answer"]
    assert (adapter["compared_answers"], adapter["differing_answers"], adapter["equals_evaluation"]) == (16, 0, True)


def test_losses_are_the_pinned_ones(job):
    made, _ = job
    assert misfits(read_jsonl(made.folder / "results/checkpoints/law-titlegen.metrics.jsonl"), pinned()) == []


def test_rounding_to_fp8_does_little_to_the_base(job, tmp_path):
    """The twin rounds the first and the last layer too."""
    results = job[0].folder / "results"
    files = results / "base/smollm2-135m-instruct.nemo", results / "prompts/law-titlegen/train.jsonl"
    ours, every = map(
        float, python(HERE / "print_rounding.py", tmp_path, ROOT / "bench", *files).splitlines()[-1].split()
    )
    assert abs(ours) < 0.01 < every


def test_packed_and_fused_it_learns_the_same(job, tmp_path):
    """Three steps of the same records; the twin, of another seed, is none of them."""
    results = job[0].folder / "results"
    settings = {
        "base": results / "base/smollm2-135m-instruct.nemo",
        **{name: results / f"prompts/law-titlegen/{split}.jsonl" for name, split in PROMPTS_OF.items()},
        **of_the_job(), "pack_length": 1024, "kernels": "fused", "validation_interval": 0, "validation_limit": 1,
    }  # fmt: skip
    curves = {}
    for seed, steps in ((settings["seed"], 3), (settings["seed"] + 1, 1)):
        files = {"checkpoint": tmp_path / f"{seed}.nemo", "metrics": tmp_path / f"{seed}.jsonl"}
        done = script("tune", "tune_adapter", tmp_path, **{**settings, **files, "seed": seed, "max_steps": steps})
        assert done.returncode == 0, done.stderr
        curves[seed] = [row for row in read_jsonl(files["metrics"]) if "train_loss" in row]
    same, other = curves.values()
    assert len(same) == 3 and misfits(same, pinned()[:3]) == []
    assert misfits(other, pinned()[:1])


def of_the_job():
    """Return the settings of the adapter in config.yaml, as options of tune_adapter."""
    config = read_config(ROOT / "config.yaml")
    adapter = {**config["adapters"]["law-titlegen"], "threads": config["threads"]}
    return {name: value for name, value in adapter.items() if name != "prompt"}


def test_second_make_does_nothing(job):
    made, first = job
    before = {path: path.stat().st_mtime_ns for path in artifacts(made.folder / "results")}
    done = subprocess.run(["make"], cwd=made.folder, capture_output=True, text=True, check=True)
    assert done.stdout == first.stdout
    after = {path: path.stat().st_mtime_ns for path in artifacts(made.folder / "results")}
    assert after == before


def test_adapter_loads_in_peft_and_titles_end(job):
    made, _ = job
    rows = [
        json.loads(line)
        for line in (made.folder / "results/evaluation/law-titlegen.predictions.jsonl").read_text().splitlines()
    ]
    assert rows
    for row in rows:
        assert "<|" not in row["adapter"] and "\n" not in row["adapter"]


def test_report_is_one_page_that_a_browser_draws(job, tmp_path):
    made, _ = job
    page = made.folder / "results/report/index.html"
    text = page.read_text()
    assert not re.search(r"""(?:src|href)=["']https?:""", text)
    if reason := wanting("chromium"):
        pytest.skip(reason)
    picture = tmp_path / "report.png"
    subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1280,2000", f"--screenshot={picture}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert picture.stat().st_size > 20_000


def test_make_serve_prints_a_curl_line_that_works(job):
    made, _ = job
    server = subprocess.Popen(
        ["make", "serve", "PORT=0"], cwd=made.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        lines: list[str] = []
        while not any("curl " in line for line in lines):
            line = server.stdout.readline()
            assert line, f"the server ended: {lines}"
            lines.append(line)
        command = next(line for line in lines if "curl " in line).strip()
        answer = json.loads(subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout)
        assert answer["choices"][0]["text"].strip()
        address = re.search(r"http://127\.0\.0\.1:\d+", command)[0]
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
        names = {model.id for model in client.models.list()}
        assert names == {"smollm2-135m-instruct", "law-titlegen"}
        with urllib.request.urlopen(f"{address}/v1/health/ready") as ready:
            assert ready.status == 200
    finally:
        children = _descendants(server.pid)
        server.terminate()
        server.wait(60)
        server.stdout.close()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


@pytest.fixture(scope="module")
def served(job):
    """The results of the job, and the URL of a server that has them."""
    results = job[0].folder / "results"
    with serving(results) as server:
        yield results, server.url


def test_titles_served_are_those_of_transformers(served):
    """Those that evaluation wrote; taking one model for the other is found."""
    results, url = served
    rows = list(read_jsonl(results / "evaluation/law-titlegen.predictions.jsonl"))
    assert count_equal(url, results, rows, at_once=8) == {"base": len(rows), "adapter": len(rows)}
    swapped = [{**row, "base": row["adapter"], "adapter": row["base"]} for row in rows[:4]]
    assert swapped and count_equal(url, results, swapped, at_once=8) == {"base": 0, "adapter": 0}


@needs_slice
def test_titles_of_real_posts_are_those_of_transformers(served, sliced, tmp_path):
    results, url = served
    rows = by_transformers(results, sliced.folder / "results/prompts/law-titlegen/test.jsonl", tmp_path)
    assert len(rows) == PROMPTS
    assert count_equal(url, results, rows, at_once=8) == {"base": PROMPTS, "adapter": PROMPTS}


def _descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *_descendants(int(child))]
    return found
