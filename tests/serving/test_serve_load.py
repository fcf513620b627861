"""Clients on a real vLLM with a two-layer base: each gets its own model's answers, and errors after kill -9."""

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from adapter_samples import write_adapter, write_base
from killed_engine import kill_under_load
from load_clients import load, told_apart, wrong
from marked_adapters import mark
from serve_build import serving
from tiny_chain import script

from adapter_build.core.jsonl import read_jsonl, write_jsonl

ADAPTERS = ("law", "tax")
PROMPTS = [f"QUESTION: May my {who} keep my deposit?\n\nTITLE:" for who in ("landlord", "bank", "lawyer", "employer")]
TOKENS = 25
CLIENTS = 8


@dataclass(frozen=True)
class Build:
    """A `results` folder, and what transformers and PEFT answer: (model, prompt) to text."""

    results: Path
    expected: Mapping[tuple[str, str], str]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Make a base, two adapters, their predictions and a sentinel."""
    root = tmp_path_factory.mktemp("load")
    results = root / "results"
    files = write_base(results / "base" / "tiny")
    write_adapter(root / "adapter")
    marked = mark(root / "adapter", results / "loras", ADAPTERS)
    write_jsonl(root / "prompts", ({"id": str(n), "input": text, "output": "-"} for n, text in enumerate(PROMPTS)))
    expected, adapters = {}, []
    (results / "evaluation").mkdir()
    for name, folder in marked.items():
        predictions = results / "evaluation" / f"{name}.predictions.jsonl"
        done = script(
            "tune", "evaluate_adapter", root / "scratch", files=files, test=root / "prompts", scores=root / "scores",
            adapter_files=[folder / part for part in ("adapter_config.json", "adapter_model.safetensors")],
            predictions=predictions, limit=9, max_new_tokens=TOKENS, batch_tokens=2048, resamples=100, seed=1,
            threads=1,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = list(read_jsonl(predictions))
        expected |= {("tiny", row["input"]): row["base"] for row in rows}
        expected |= {(name, row["input"]): row["adapter"] for row in rows}
        adapters.append({"name": name, "prompt_id": "0", "answer": rows[0]["adapter"]})
    (results / "deploy").mkdir()
    (results / "deploy" / "ready.json").write_text(json.dumps({"base": {"name": "tiny"}, "adapters": adapters}))
    assert told_apart(expected)
    return Build(results, expected)


@pytest.mark.engine
@pytest.mark.slow
def test_every_client_gets_its_adapter_and_a_killed_engine_comes_back(build: Build) -> None:
    models = ["tiny", *ADAPTERS]
    seen = kill_under_load(
        build.results, models, PROMPTS, clients=CLIENTS, most=TOKENS, seconds=30, interval=1, threads=1
    )
    assert {reply.model for reply in seen.before} == set(models)
    assert [reply for reply in seen.before if reply.status != 200] == []
    assert wrong([*seen.before, *seen.after, *seen.again], build.expected) == []
    # An answer may have been on its way when the engine was killed. Nobody waited in vain.
    assert {reply.error for reply in seen.after if reply.status != 200} == {"APIConnectionError"}
    assert {reply.error for reply in seen.after if reply.began > seen.killed} == {"APIConnectionError"}
    assert not seen.told["ready"] and "no answer" in seen.told["reason"]
    assert seen.told_again["ready"]
    assert {reply.status for reply in seen.again} == {200}
    assert {reply.model for reply in seen.again} == set(models)


@pytest.mark.engine
@pytest.mark.slow
def test_swapped_adapters_are_found(build: Build) -> None:
    law, tax = (build.results / "loras" / name for name in ADAPTERS)
    with serving(build.results, {"law": tax, "tax": law}, threads=1) as server:
        asking = load(server.url, ["tiny", *ADAPTERS], PROMPTS, clients=CLIENTS, most=TOKENS, requests=24)
        replies = asyncio.run(asking)
    assert len(replies) == 24 and {reply.status for reply in replies} == {200}
    found = wrong(replies, build.expected)
    assert found == [reply for reply in replies if reply.model != "tiny"] != []


def test_adapters_that_answer_alike_are_not_told_apart() -> None:
    expected = {("law", "why?"): "a", ("tax", "why?"): "b", ("tax", "when?"): "a"}
    assert told_apart(expected)
    assert not told_apart({**expected, ("tax", "why?"): "a"})


def test_a_server_that_never_answers_is_not_one_that_is_gone() -> None:
    ask = {"models": ["law"], "prompts": ["why?"], "clients": 2, "most": 1, "requests": 2, "patience": 0.5}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert [reply.error for reply in asyncio.run(load(url, **ask))] == ["APITimeoutError"] * 2
    assert [reply.error for reply in asyncio.run(load(url, **ask))] == ["APIConnectionError"] * 2
