"""The checks of a deployment, over HTTP alone: the embedded engine and NIM are asked the same."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faults import BadInput
from inference_client import Answer, complete, get
from progress import Progress

# In the order in which they are made.
CHECKS = (
    "live", "ready", "models", "base_answers", "adapter_answers", "adapter_ends_cleanly", "adapter_differs",
    "base_unchanged",
)  # fmt: skip


def check(
    url: str, base: str, golden: Mapping[str, dict[str, str]], specials: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Make CHECKS against the server at `url`; return what each adapter of `golden` answered. Raises `BadInput`."""
    _check_health(url)
    _check_models(url, base, golden)
    before = {name: complete(url, base, row["input"]) for name, row in golden.items()}
    checked = {}
    with Progress("asking base and adapters", total=len(golden), unit="adapter") as bar:
        for name, row in golden.items():
            if not before[name].text:
                raise BadInput(f"base {base}: answered nothing to prompt {row['id']}")
            answer = complete(url, name, row["input"])
            _check_answer(name, row["id"], answer, before[name], specials)
            after = complete(url, base, row["input"])
            if after != before[name]:
                raise BadInput(
                    f"adapter {name}: after it was asked, base {base} answered prompt {row['id']} with {after.text!r} "
                    f"instead of {before[name].text!r}: its weights may hold NaN: stage it again"
                )
            equal = (answer.text, after.text) == (row["adapter"].strip(), row["base"].strip())
            checked[name] = {
                "prompt_id": row["id"],
                "answer": answer.text,
                "base_answer": after.text,
                "equals_evaluation": equal,
            }
            bar.update(1)
    return checked


def special_tokens(files: Sequence[Path]) -> dict[str, int]:
    """Return text → id of the base tokenizer's special tokens, which belong in no answer."""
    tokenizer = next((path for path in files if path.name == "tokenizer.json"), None)
    if tokenizer is None:
        raise BadInput("--files: the base has no tokenizer.json: check base.name")
    added = json.loads(tokenizer.read_text(encoding="utf-8"))["added_tokens"]
    return {token["content"]: token["id"] for token in added if token["special"]}


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


def _check_answer(name: str, prompt: str, answer: Answer, base: Answer, specials: Mapping[str, int]) -> None:
    if not answer.text:
        raise BadInput(f"adapter {name}: answered nothing to prompt {prompt}: its weights may hold NaN: stage it again")
    tokens = answer.tokens or []
    kept = set(tokens[:-1] if answer.finish_reason == "stop" else tokens)
    if left := [text for text, number in specials.items() if number in kept or text in answer.text]:
        raise BadInput(
            f"adapter {name}: its answer to prompt {prompt} runs on past {left[0]}: {answer.text!r}: the end token of "
            "generation_config.json, of the tokenizer and of the training text must be the same"
        )
    if answer.text == base.text:
        raise BadInput(
            f"adapter {name}: answers prompt {prompt} as its base does, though evaluation saw a difference: "
            f"{answer.text!r}: stage it again"
        )
