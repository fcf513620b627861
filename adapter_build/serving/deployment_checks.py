"""Checks of a deployment, over HTTP alone: the same for the embedded engine and for NIM."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.progress import Progress
from adapter_build.models.answer_tokens import first_line
from adapter_build.models.tokenizer_files import TokenizerFiles
from adapter_build.serving.deployment_prompts import Row, prompt_of
from adapter_build.serving.inference_client import MAX_TOKENS, Answer, complete_all, get

# In the order in which they are made.
CHECKS = (
    "live", "ready", "models", "base_answers", "adapter_answers", "adapter_ends_cleanly", "adapter_differs",
    "base_unchanged", "equals_evaluation",
)  # fmt: skip
SHOWN = 100  # characters of an answer
CAUSES = (
    "server and evaluation differ in tokenizer, rope settings or dtype: give both the same base; if they only round "
    "otherwise, raise deploy.differing_answers"
)


@dataclass(frozen=True)
class CheckTerms:
    """Terms of asking a server: tokens of an answer at most, prompts at once, and how many answers may differ.

    `differing` bounds the answers of an adapter and its base that may differ from evaluation's; None: answers are not
    compared with evaluation's.
    """

    most: int = MAX_TOKENS
    at_once: int = 1
    differing: int | None = 0


EXACT = CheckTerms()


def check(
    url: str, base: str, asked: Mapping[str, Sequence[Row]], specials: Mapping[str, int], how: CheckTerms = EXACT
) -> dict[str, dict[str, Any]]:
    """Make CHECKS against the server at `url`; return each adapter's entry for the sentinel, by its rows of `asked`.

    The first row is an adapter's golden one. The base is asked before and after its adapter: an adapter that holds NaN
    spoils the base's answers after it. Raises `BadInput` with the first check that fails.
    """
    _check_health(url)
    _check_models(url, base, asked)
    checked = {}
    with Progress("asking base and adapters", total=3 * sum(map(len, asked.values())), unit="answer") as bar:

        def answers(model: str, rows: Sequence[Row]) -> list[Answer]:
            given = []
            for answer in complete_all(url, model, [prompt_of(row) for row in rows], how.most, how.at_once):
                given.append(answer)
                bar.update()
            return given

        before = {name: answers(base, rows) for name, rows in asked.items()}
        for name, rows in asked.items():
            if not before[name][0].text:
                raise BadInput(f"base {base}: answered nothing to prompt {rows[0]['id']}")
            given = answers(name, rows)
            _check_answers(name, rows, given, before[name][0], specials)
            after = answers(base, rows)
            _check_unchanged(name, base, rows, before[name], after, how.differing or 0)
            differing = list(_differing(name, base, rows, given, before[name], after))
            if how.differing is not None and len(differing) > how.differing:
                raise BadInput(
                    f"adapter {name}: {len(differing)} of {2 * len(rows)} answers of it and base {base} are not "
                    f"evaluation's, {how.differing} may be: {differing[0]}: {CAUSES}"
                )
            checked[name] = {
                "prompt_id": rows[0]["id"],
                "answer": given[0].text,
                "base_answer": after[0].text,
                "prompt_ids": [row["id"] for row in rows],
                "compared_answers": 2 * len(rows),
                "differing_answers": len(differing),
                "equals_evaluation": not differing,
            }
    return checked


def special_tokens(files: Sequence[Path]) -> dict[str, int]:
    """Return text → id of the base tokenizer's special tokens, which belong in no answer."""
    by_name = {path.name: path for path in files}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if name not in by_name:
            raise BadInput(f"--files: the base has no {name}: check base.name")
    return TokenizerFiles(by_name).specials()


def served_length(url: str, base: str) -> int | None:
    """Return the tokens of prompt and answer that the server lists as its limit; None if it lists none."""
    _, models = get(url, "/v1/models")
    listed = models.get("data") if isinstance(models, dict) else None
    told = next((model.get("max_model_len") for model in listed or [] if model.get("id") == base), None)
    return told if type(told) is int and told > 0 else None


def _check_health(url: str) -> None:
    for name in ("live", "ready"):
        status, _ = get(url, f"/v1/health/{name}")
        if status != 200:
            raise BadInput(f"{url}/v1/health/{name}: answered {status}, not 200")


def _check_models(url: str, base: str, adapters: Mapping[str, Any]) -> None:
    _, models = get(url, "/v1/models")
    # vLLM names an adapter's base as its parent, NIM 1.x as its root (docs.nvidia.com, NIM 1.2.0, peft.html).
    names = {model["id"] for model in models["data"]}
    roots = {model["id"]: model.get("root") for model in models["data"] if model.get("root") in names - {model["id"]}}
    parents = {model["id"]: model.get("parent") or roots.get(model["id"]) for model in models["data"]}
    if base not in parents:
        raise BadInput(f"{url}/v1/models: does not list base {base}, but {', '.join(parents)}")
    for name in adapters:
        if parents.get(name) != base:
            found = f"under {parents[name]!r}" if name in parents else "not at all"
            mend = "its log says why it was not taken; a NIM profile without LoRA takes none (deploy.nim.profile)"
            raise BadInput(f"{url}/v1/models: lists adapter {name} {found}, expected it under base {base!r}: {mend}")


def _check_answers(
    name: str, rows: Sequence[Row], given: Sequence[Answer], base: Answer, specials: Mapping[str, int]
) -> None:
    """Raise `BadInput` where an answer runs past its end, or the golden one is empty or equals `base`, the base's."""
    prompt, golden = rows[0]["id"], given[0].text
    if not golden:
        raise BadInput(f"adapter {name}: answered nothing to prompt {prompt}: its weights may hold NaN: stage it again")
    for row, answer in zip(rows, given, strict=True):
        tokens = answer.tokens or []
        inner = set(tokens[:-1] if answer.finish_reason == "stop" else tokens)
        for text, number in specials.items():
            if number in inner or (text in answer.text and text not in row["input"]):  # a post may speak of a token
                raise BadInput(
                    f"adapter {name}: its answer to prompt {row['id']} runs on past {text}: {answer.text!r}: the end "
                    "token of generation_config.json, of the tokenizer and of the training text must be the same"
                )
    if golden == base.text:
        raise BadInput(
            f"adapter {name}: answers prompt {prompt} as its base does, though evaluation saw a difference: "
            f"{golden!r}: stage it again"
        )


def _check_unchanged(
    name: str, base: str, rows: Sequence[Row], before: Sequence[Answer], after: Sequence[Answer], allowed: int
) -> None:
    """Raise `BadInput` where the base's golden answer has changed, or more than `allowed` of its answers."""
    changed = [number for number in range(len(rows)) if after[number] != before[number]]
    emptied = any(before[number].text and not after[number].text for number in changed)
    if changed and (changed[0] == 0 or emptied or len(changed) > allowed):
        row, now, then = rows[changed[0]], after[changed[0]].text, before[changed[0]].text
        raise BadInput(
            f"adapter {name}: after it was asked, base {base} answered prompt {row['id']} with {now!r} "
            f"instead of {then!r}: its weights may hold NaN: stage it again"
        )


def _differing(
    name: str,
    base: str,
    rows: Sequence[Row],
    given: Sequence[Answer],
    before: Sequence[Answer],
    after: Sequence[Answer],
) -> Iterator[str]:
    """Describe each answer of adapter and base that differs from evaluation's; the base answers twice."""
    for row, own, first, second in zip(rows, given, before, after, strict=True):
        for model, answers, evaluated in ((name, (own,), row["adapter"]), (base, (first, second), row["base"])):
            served = next((a for a in answers if first_line(a.text) != first_line(evaluated)), None)
            if served:
                yield f"{model} to prompt {row['id']}: {_pair(served, row, first_line(evaluated))}"


def _pair(served: Answer, row: Row, evaluated: str) -> str:
    said, read = first_line(served.text), row.get("prompt_tokens")
    start = next((n for n, pair in enumerate(zip(said, evaluated, strict=False)) if pair[0] != pair[1]), 0)
    begin = max(0, start - SHOWN // 2) if max(len(said), len(evaluated)) > SHOWN else 0
    said, wanted = (f"{'…' if begin else ''}{text[begin : begin + SHOWN]}" for text in (said, evaluated))
    tokens = "" if served.prompt_tokens in (None, read) or read is None else (
        f" (it reads {served.prompt_tokens} tokens in the prompt, evaluation {read})"
    )  # fmt: skip
    return f"served {said!r}, evaluated {wanted!r}{tokens}"
