"""The prompts that a deployment is asked: whole, with room for an answer, one of them with two different answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import write_jsonl
from adapter_build.serving.deployment_prompts import PROMPTS, deployment_prompts, prompt_of
from adapter_build.serving.request_bounds import MAX_BODY

LENGTH, ANSWER = 100, 25
answers = st.sampled_from(["", " ", "a", "a ", "b"])
rows = st.builds(
    lambda base, adapter, tokens, cut: {"base": base, "adapter": adapter, "prompt_tokens": tokens, "cut_tokens": cut},
    answers, answers, st.integers(60, 90), st.sampled_from([0, 0, 0, 1, 900]),
)  # fmt: skip


def predictions(folder: Path, found: list[dict[str, Any]]) -> Path:
    """Write rows with an id and a prompt each."""
    path = folder / "law.predictions.jsonl"
    write_jsonl(path, ({"id": str(n), "input": f"QUESTION: {n}?", "reference": "", **row}
                       for n, row in enumerate(found)))  # fmt: skip
    return path


def row(tokens: int = 50, cut: int = 0, base: str = "a", adapter: str = "b", **more: Any) -> dict[str, Any]:
    """Return a row with different answers."""
    return {"base": base, "adapter": adapter, "prompt_tokens": tokens, "cut_tokens": cut, **more}


@given(st.lists(rows, max_size=30))
@settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_asked_fits_and_differs(tmp_path: Path, found: list[dict[str, Any]]) -> None:
    path = predictions(tmp_path, found)
    fits = [n for n, row in enumerate(found) if not row["cut_tokens"] and row["prompt_tokens"] + ANSWER <= LENGTH]
    differ = [n for n, row in enumerate(found) if {row["base"].strip(), row["adapter"].strip()} == {"a", "b"}]
    golden = next((n for n in fits if n in differ), None)
    if golden is None:
        with pytest.raises(BadInput) as told:
            deployment_prompts(path, "law", LENGTH, ANSWER)
        key = "curate.filtered_splits" if differ else "adapters.law.max_steps"
        assert key in str(told.value) and str(path) in str(told.value) and "\n" not in str(told.value)
        return
    asked = [int(row["id"]) for row in deployment_prompts(path, "law", LENGTH, ANSWER)]
    assert asked == [golden, *(n for n in fits if n != golden)][:PROMPTS]
    assert len(asked) == min(PROMPTS, len(fits))


def test_long_prompts_are_passed_over(tmp_path: Path) -> None:
    path = predictions(tmp_path, [row(76), row(40, cut=3), row(75), row(10, adapter="a")])
    assert [found["id"] for found in deployment_prompts(path, "law", LENGTH, ANSWER)] == ["2", "3"]


def test_cut_prompts_are_asked_by_their_tokens_after_whole_ones(tmp_path: Path) -> None:
    long = row(75, cut=3000, cut_prompt=[1] * 75)
    found = deployment_prompts(
        predictions(tmp_path, [long, row(10, adapter="a"), row(60), long]), "law", LENGTH, ANSWER
    )
    assert [(found["id"], prompt_of(found)) for found in found] == [
        ("2", "QUESTION: 2?"), ("1", "QUESTION: 1?"), ("0", [1] * 75), ("3", [1] * 75),
    ]  # fmt: skip
    only = deployment_prompts(predictions(tmp_path, [long, row(10, adapter="a")]), "law", LENGTH, ANSWER)
    assert [found["id"] for found in only] == ["0", "1"]
    with pytest.raises(BadInput, match="no prompt on which adapter and base differ fits"):
        deployment_prompts(predictions(tmp_path, [row(76, cut=3000, cut_prompt=[1] * 76)]), "law", LENGTH, ANSWER)


@pytest.mark.parametrize(
    ("found", "longest", "parts"),
    [
        ([row(4000), row(4200)], 8192, ["100 tokens: the shortest takes 4025 with",
                                        "set deploy.embedded.context_length to 4025 or more, or keep long"]),
        ([row(4000)], 0, ["the shortest takes 4025 with its answer: keep long posts out of the test split"]),
        ([row(8000, cut=500), row(10, adapter="a")], 8192, ["the shortest takes 8525 with its answer: keep long"]),
        ([row(50, input="\u00e4" * (MAX_BODY // 6))], 8192, [f"{MAX_BODY} bytes of a request: keep long"]),
    ],
)  # fmt: skip
def test_where_none_fits_the_line_names_the_key(tmp_path: Path, found: Any, longest: int, parts: list[str]) -> None:
    with pytest.raises(BadInput) as told:
        deployment_prompts(predictions(tmp_path, found), "law", LENGTH, ANSWER, longest)
    for part in [*parts, "no prompt on which adapter and base differ fits", "curate.filtered_splits, curate.max_words"]:
        assert part in str(told.value)


@pytest.mark.parametrize("key", ["prompt_tokens", "cut_tokens", "adapter", "input"])
def test_predictions_of_an_earlier_version_fail(tmp_path: Path, key: str) -> None:
    path = predictions(tmp_path, [row(), row()])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    del lines[1][key]
    write_jsonl(path, lines)
    with pytest.raises(BadInput, match=rf"law.predictions.jsonl: record 1 has no {key}: evaluate again: run `make`"):
        deployment_prompts(path, "law", LENGTH, ANSWER)
