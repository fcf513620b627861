"""evaluate_adapter: base and adapter answer as transformers alone would, and the scores are what their answers give."""

import json
from pathlib import Path

import pytest
from test_acquire_base import copied
from tiny_chain import Chain, chain, prompts, python, refused, sha256

from adapter_build.core.jsonl import read_jsonl

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow  # each imports PyTorch, most NeMo

# Prompt by prompt, no batch, no padding, no cache of ours: the plainest way to the same answers.
# Many prompts, in batches and parts of any size, against transformers' own generate, one prompt at a time.


@pytest.fixture
def tiny(tiny_base: Path) -> Chain:
    return chain(tiny_base)


@pytest.fixture(scope="module")
def evaluated(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one evaluation."""
    folder = tmp_path_factory.mktemp("evaluated")
    result = chain(tiny_base).evaluate(folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_answers_are_those_without_batches(tiny: Chain, tiny_base: Path, evaluated: Path, tmp_path: Path) -> None:
    arguments = (tiny_base, tiny.folder / "adapter", tiny.folder / "test.jsonl")
    plain, tuned = json.loads(python(HERE / "answer_one_by_one.py", tmp_path, *arguments).splitlines()[-1])
    rows = list(read_jsonl(evaluated / "predictions.jsonl"))
    assert [row["base"] for row in rows] == plain
    assert [row["adapter"] for row in rows] == tuned
    assert plain != tuned
    assert len(set(tuned)) > 1, "answers that are all alike show nothing about batches"


def test_many_prompts_at_once_are_answered_as_each_alone(tiny: Chain, tiny_base: Path, tmp_path: Path) -> None:
    test = prompts(tmp_path / "many.jsonl", 40, seed=9, words=40)
    said = python(HERE / "answer_together.py", tmp_path, tiny_base, tiny.folder / "adapter", test)
    plain, tried, first, none, one = json.loads(said.splitlines()[-1])
    assert len({len(tokens) for tokens in plain}) > 2, "answers that all end at once show nothing"
    assert all(tokens == plain for tokens, _ in tried)
    rows = [max(steps) for _, steps in tried]
    assert rows[0] == 1 < rows[1] < rows[2] == 40
    assert len(tried[2][1]) == max(map(len, plain)) - 1, "a batch ends with the last of its answers"
    assert first == one[0] == [tokens[:1] for tokens in plain] and none == one[1] == []


def test_a_batch_has_the_tokens_that_it_may_have(tmp_path: Path) -> None:
    """With what fills rows up; a prompt that is longer is answered alone."""
    assert json.loads(python(HERE / "print_batches.py", tmp_path)) == [[[1, 2, 4], [0], [3]], []]


def test_predictions_are_in_test_order(tiny: Chain, evaluated: Path) -> None:
    wanted = list(read_jsonl(tiny.folder / "test.jsonl"))[:9]
    rows = list(read_jsonl(evaluated / "predictions.jsonl"))
    assert [(row["id"], row["input"], row["reference"]) for row in rows] == [
        (row["id"], row["input"], row["output"]) for row in wanted
    ]
    counted = {"prompt_tokens", "cut_tokens"}
    assert {key for row in rows for key in row} == {"id", "input", "reference", "base", "adapter"} | counted
    assert not [row for row in rows if "<|" in row["adapter"] or "\n" in row["adapter"]]


def test_scores_are_sound(evaluated: Path) -> None:
    scores = json.loads((evaluated / "scores.json").read_text())
    assert scores["records"] == 9
    assert scores["settings"] == {"limit": 9, "max_new_tokens": 8, "resamples": 200, "seed": 1, "stemmer": True}
    for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        for side in ("base", "adapter", "difference"):
            assert scores[side][kind]["low"] <= scores[side][kind]["mean"] <= scores[side][kind]["high"]
        difference = scores["adapter"][kind]["mean"] - scores["base"][kind]["mean"]
        assert scores["difference"][kind]["mean"] == pytest.approx(difference, abs=1e-3)
    assert scores["difference"]["rougeL"]["low"] > 0, "sixty steps teach the tiny base the titles' form"


def test_two_evaluations_are_the_same(tiny: Chain, evaluated: Path, tmp_path: Path) -> None:
    assert tiny.evaluate(tmp_path / "again").returncode == 0
    for name in ("scores.json", "predictions.jsonl"):
        assert sha256(tmp_path / "again" / name) == sha256(evaluated / name)


def test_rouge_and_its_intervals(tmp_path: Path) -> None:
    scores, spread, same = json.loads(python(HERE / "print_scores.py", tmp_path))
    assert scores["rouge1"] == pytest.approx([100, 100 * 2 * 1 / 6])  # stemmed; 1 of 2 and 1 of 4
    assert scores["rougeL"] == scores["rougeLsum"] == pytest.approx(scores["rouge1"])
    assert scores["rouge2"] == pytest.approx([100, 0])
    assert spread["x"] == {"mean": 50.0, "low": 0.0, "high": 100.0}
    assert same["x"] == {"mean": 40.0, "low": 40.0, "high": 40.0}


def test_no_records_is_refused(tiny: Chain, tmp_path: Path) -> None:
    refused(
        tiny.evaluate(tmp_path / "out", test=prompts(tmp_path / "empty.jsonl", 0, seed=0)), "no records", "data.path"
    )


def test_end_token_that_disagrees_is_refused(tiny: Chain, tiny_base: Path, tmp_path: Path) -> None:
    files = copied(tiny_base, tmp_path / "own", "generation_config.json", eos_token_id=0)
    refused(tiny.evaluate(tmp_path / "out", files=files), "generation_config.json", "run on past the answer")


def test_prompts_are_counted_and_what_is_cut_of_them(tiny: Chain, tiny_base: Path, tmp_path: Path) -> None:
    """In a base of few positions: what a prompt lost is said, so that a server is not asked the whole of it."""
    said = python(HERE / "count_tokens.py", tmp_path, tiny_base, tiny.folder / "test.jsonl")
    whole = json.loads(said.splitlines()[-1])[:9]
    room = sorted(whole)[4]
    files = copied(tiny_base, tmp_path / "own", "config.json", max_position_embeddings=room + 8)
    assert tiny.evaluate(tmp_path / "out", files=files).returncode == 0
    rows = list(read_jsonl(tmp_path / "out" / "predictions.jsonl"))
    assert [row["prompt_tokens"] for row in rows] == [min(count, room) for count in whole]
    assert [row["cut_tokens"] for row in rows] == [max(0, count - room) for count in whole]
    assert len({bool(row["cut_tokens"]) for row in rows}) == 2
    # What is left of one stands beside it; a server that takes less than the base has the same cut.
    assert [len(row.get("cut_prompt", [])) for row in rows] == [room * (count > room) for count in whole]
    assert tiny.evaluate(tmp_path / "served", context_length=room + 8).returncode == 0
    assert list(read_jsonl(tmp_path / "served" / "predictions.jsonl")) == rows
    outcome = tiny.evaluate(tmp_path / "none", files=files, max_new_tokens=room + 8)
    refused(outcome, "test.jsonl: record 0: of its prompt", "lower evaluate.max_new_tokens")


def test_missing_adapter_file_is_refused(tiny: Chain, tmp_path: Path) -> None:
    refused(tiny.evaluate(tmp_path / "out", adapter_files=tiny.adapter[:1]), "adapter_model.safetensors")
