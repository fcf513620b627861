"""Each check of a deployment finds its fault, on a real vLLM that serves what a build checks: every adapter, unseen."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from adapter_samples import adapter_tensors, poisoned, write_adapter, write_base
from running_server import PROMPT, ROOT, golden

from adapter_build.core.faults import BadInput
from adapter_build.serving import embedded_engine
from adapter_build.serving.deployment_checks import CheckTerms, check, special_tokens
from adapter_build.serving.inference_client import _post, complete

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@dataclass
class Engine:
    """A running engine, and the special tokens of its base."""

    url: str
    specials: dict[str, int]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start the engine on what it serves without a word: sound adapters, one that is its base, one with a NaN."""
    root = tmp_path_factory.mktemp("engine")
    files = write_base(root / "base")
    adapters = {"law": adapter_tensors(seed=1), "nothing": adapter_tensors(scale=0.0), "poison": poisoned(),
                "tax": adapter_tensors(seed=2)}  # fmt: skip
    for name, tensors in adapters.items():
        write_adapter(root / name, tensors=tensors)
    folders = {name: root / name for name in adapters}
    python = ROOT / ".venvs/serve/bin/python"
    with embedded_engine.serving(
        "tiny", files, folders, port=0, threads=1, timeout=300, log=root / "log", python=python
    ) as server:
        yield Engine(server.url, special_tokens(files))


def test_check_passes_with_two_adapters(engine: Engine) -> None:
    rows = golden(engine.url, "law", "tax")
    checked = check(engine.url, "tiny", rows, engine.specials)
    assert list(checked) == ["law", "tax"]
    for name, found in checked.items():
        assert found == {
            "prompt_id": "1", "answer": rows[name][0]["adapter"], "base_answer": rows[name][0]["base"],
            "prompt_ids": ["1"], "compared_answers": 2, "differing_answers": 0, "equals_evaluation": True,
        }  # fmt: skip
    assert checked["law"]["answer"] != checked["tax"]["answer"]
    rows["tax"][0]["adapter"] += "s"
    again = check(engine.url, "tiny", rows, engine.specials, CheckTerms(differing=1))
    assert [found["equals_evaluation"] for found in again.values()] == [True, False]


def test_eight_prompts_at_once_are_answered_as_one_by_one(engine: Engine) -> None:
    rows = golden(engine.url, "law", prompts=8)
    assert len({row["adapter"] for row in rows["law"]}) == 8
    together = check(engine.url, "tiny", rows, engine.specials, CheckTerms(at_once=8))
    assert together == check(engine.url, "tiny", rows, engine.specials)
    assert together["law"]["compared_answers"] == 16 and together["law"]["equals_evaluation"]
    shorter = CheckTerms(most=7, differing=16)
    assert len(check(engine.url, "tiny", rows, engine.specials, shorter)["law"]["answer"]) < 10


def test_a_prompt_that_was_cut_is_asked_by_its_tokens(engine: Engine) -> None:
    """The text is another one: what evaluation left of it is what the server is asked."""
    rows = golden(engine.url, "law", prompts=2)
    for row in rows["law"]:
        body = {"model": "tiny", "prompt": row["input"], "max_tokens": 1, "return_token_ids": True}
        tokens = _post(engine.url, body, 60)[1]["choices"][0]["prompt_token_ids"]
        row |= {"input": f"{row['input']} and more", "cut_prompt": tokens, "cut_tokens": 9}
    found = check(engine.url, "tiny", rows, engine.specials)["law"]
    assert found["equals_evaluation"] and found["compared_answers"] == 4
    del rows["law"][0]["cut_prompt"]  # its twin: the text as a whole is answered otherwise
    with pytest.raises(BadInput, match="are not evaluation's"):
        check(engine.url, "tiny", rows, engine.specials)


def test_answers_that_are_not_evaluations_fail(engine: Engine) -> None:
    """One more than is allowed, of adapter or base; the first is shown, with what can be the cause and the key."""
    rows = golden(engine.url, "law", prompts=3)
    served = rows["law"][1]["adapter"]
    rows["law"][1] |= {"adapter": "Another title", "prompt_tokens": 7}
    with pytest.raises(
        BadInput, match="adapter law: 1 of 6 answers of it and base tiny are not evaluation's, 0 may"
    ) as told:
        check(engine.url, "tiny", rows, engine.specials)
    tokens = f"(it reads {len(rows['law'][1]['input'])} tokens in the prompt, evaluation 7)"  # a byte each
    for part in (
        f"law to prompt 2: served {served!r}, evaluated 'Another title' {tokens}", "tokenizer, rope settings or dtype",
        "raise deploy.differing_answers",
    ):  # fmt: skip
        assert part in str(told.value)
    assert "\n" not in str(told.value)
    found = check(engine.url, "tiny", rows, engine.specials, CheckTerms(differing=1))["law"]
    assert (found["differing_answers"], found["equals_evaluation"]) == (1, False)
    rows["law"][2]["base"] = "Another base"
    with pytest.raises(BadInput, match="2 of 6 answers of it and base tiny are not evaluation's, 1 may be: law to"):
        check(engine.url, "tiny", rows, engine.specials, CheckTerms(differing=1))
    assert check(engine.url, "tiny", rows, engine.specials, CheckTerms(differing=None))["law"]["differing_answers"] == 2


def test_adapter_that_is_its_base_fails(engine: Engine) -> None:
    with pytest.raises(BadInput, match="adapter nothing: answers prompt 1 as its base does"):
        check(engine.url, "tiny", golden(engine.url, "nothing"), engine.specials)


def test_adapter_that_is_not_served_fails(engine: Engine) -> None:
    rows = {"absent": [{"id": "1", "input": PROMPT, "base": "", "adapter": ""}]}
    with pytest.raises(BadInput, match="lists adapter absent not at all"):
        check(engine.url, "tiny", rows, engine.specials)
    rows = {"tiny": rows["absent"]}
    with pytest.raises(BadInput, match="lists adapter tiny under None"):
        check(engine.url, "tiny", rows, engine.specials)


def test_base_that_is_not_served_fails(engine: Engine) -> None:
    with pytest.raises(BadInput, match="does not list base absent"):
        check(engine.url, "absent", golden(engine.url, "law"), engine.specials)


def test_answer_that_runs_past_the_end_token_fails(engine: Engine) -> None:
    """A token that the answer holds is declared special: as if the end token taught were not the one that stops."""
    rows = golden(engine.url, "law")
    token = complete(engine.url, "law", PROMPT).tokens[3]
    with pytest.raises(BadInput, match=r"adapter law: its answer to prompt 1 runs on past <end>"):
        check(engine.url, "tiny", rows, {**engine.specials, "<end>": token})


def test_prompt_too_long_fails(engine: Engine) -> None:
    rows = golden(engine.url, "law")
    rows["law"][0]["input"] *= 20
    with pytest.raises(BadInput, match="tiny: the server answered 400"):
        check(engine.url, "tiny", rows, engine.specials)


def test_adapter_with_nan_fails(engine: Engine) -> None:
    """Last: whatever is asked after it may get nothing."""
    rows = {**golden(engine.url, "law"), "poison": [{"id": "1", "input": PROMPT, "base": "", "adapter": ""}]}
    with pytest.raises(BadInput, match=r"adapter poison: .*may hold NaN"):
        check(engine.url, "tiny", rows, engine.specials)
