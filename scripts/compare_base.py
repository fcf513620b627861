"""Compare how tuning and the server read one base: nothing is tuned unless both read the same.

The readings are read_base's, one of each environment. The first difference is an error that names the file's key and,
where one is proven to help, the mend. Without one, the facts that later steps need are written.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.strict_json import read_object

TURNS = 1e-3  # by which cosines of rotary embeddings may differ: rounding, at place 1000
MEND = "run make"
ROPE = ("rope", "turns")
SHOWN = 60  # letters of a text in an error


def main() -> None:
    """Compare the readings and write the facts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="the base's Hugging Face files")
    parser.add_argument("--tuning", type=Path, required=True, help="read_base's reading in the environment that tunes")
    parser.add_argument("--serving", type=Path, required=True, help="and in the one that serves")
    parser.add_argument("--facts", type=Path, required=True, help="facts for later steps to write, as JSON")
    options = parser.parse_args()
    folder = options.files[0].parent
    tuning, serving = (read_object(path, MEND) for path in (options.tuning, options.serving))
    fault = next(faults(folder, tuning, serving), None)
    if fault:
        raise BadInput(fault)
    found = tuning["tokens"]
    facts = {
        "adds_bos": bool(found["before"]),
        "special": found["special"],
        "tokens": {role.removesuffix("_token"): token for role, (token, _) in found["roles"].items()},
    }
    text = json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    options.facts.write_text(text, encoding="utf-8")


def faults(folder: Path, tuning: dict[str, Any], serving: dict[str, Any]) -> Iterator[str]:
    """Yield the reasons why the base cannot be tuned and served."""
    config, tokenizer = folder / "config.json", folder / "tokenizer_config.json"
    for part, path in (("config", config), ("tokens", tokenizer)):
        for name, reading in (("tuning", tuning), ("serving", serving)):
            if error := reading[part].get("error"):
                found = proven(tuning, serving) if part == "tokens" else None
                if not reading[part].get("whole"):
                    error = f"{path}: {name} ({reading['by']}) cannot read it: {error}: correct it"
                yield f"{error.rpartition(': ')[0]}: {found[1]}" if found else error
                return
    yield from _shapes(config, tuning, serving)
    yield from _tokens(tokenizer, tuning, serving)
    tuned, served = (part["stops"].get("ids", part["stops"]) for part in (tuning, serving))
    if tuned != served:
        path = folder / "generation_config.json"
        mend = "write eos_token_id there with every token that ends an answer"
        yield _said(f"{path}: eos_token_id", tuned, served, mend, tuning, serving)
    yield from _unfit(folder, tuning)


def _shapes(path: Path, tuning: dict[str, Any], serving: dict[str, Any]) -> Iterator[str]:
    ours, theirs = tuning["config"], serving["config"]
    both = f"tuning ({tuning['by']}) reads {{}}, serving ({serving['by']}) {{}}"
    if any(
        abs(one - other) > TURNS
        for row, same in zip(ours["turns"], theirs["turns"], strict=False)
        for one, other in zip(row, same, strict=False)
    ) or [*map(len, ours["turns"])] != [*map(len, theirs["turns"])]:
        every = {**ours["rope"], **theirs["rope"]}
        apart = sorted(key for key in every if ours["rope"].get(key) != theirs["rope"].get(key))
        said = [", ".join(f"{key} {part['rope'].get(key)}" for key in apart) for part in (ours, theirs)]
        yield (
            f"{path}: rope_parameters, rope_theta, rope_scaling: {both.format(*said)}: write rope_theta, and "
            "rope_scaling where there is any, with the values that the model was trained with, and no rope_parameters"
        )
    for key in sorted(set(ours) - set(ROPE)):
        if ours[key] != theirs[key] and not (key == "dtype" and None in (ours[key], theirs[key])):
            words = "torch_dtype and dtype" if key == "dtype" else key
            yield f"{path}: {words}: {both.format(ours[key], theirs[key])}: write {words} as the weights have it"


def _tokens(path: Path, tuning: dict[str, Any], serving: dict[str, Any]) -> Iterator[str]:
    ours, theirs = tuning["tokens"], serving["tokens"]
    if ours == theirs:
        return
    key, mend = proven(tuning, serving) or ("tokenizer_class and the keys beside it", "correct tokenizer_config.json")
    for role, token in ours["roles"].items():
        if token != theirs["roles"][role]:
            yield _said(f"{path}: {key}: {role}", token, theirs["roles"][role], mend, tuning, serving)
    for one, other in zip(ours["texts"], theirs["texts"], strict=False):
        yield from _text(f"{path}: {key}", mend, one, other, tuning, serving)
    for name in ours:
        if ours[name] != theirs[name]:
            yield _said(f"{path}: {key}: {name}", ours[name], theirs[name], mend, tuning, serving)


def _said(where: str, ours: Any, theirs: Any, mend: str, tuning: dict[str, Any], serving: dict[str, Any]) -> str:
    return f"{where}: tuning ({tuning['by']}) reads {_shown(ours)}, serving ({serving['by']}) {_shown(theirs)}: {mend}"


def _text(
    where: str, mend: str, one: dict[str, Any], other: dict[str, Any], tuning: dict[str, Any], serving: dict[str, Any]
) -> Iterator[str]:
    for name in ("read", "whole", "alone", "decoded"):
        if one[name] != other[name]:
            verb = "reads back as" if name in ("decoded", "read") else "has the tokens"
            yield (
                f"{where}: {_shown(one['text'])} {verb} {_shown(one[name])} in tuning ({tuning['by']}), "
                f"{_shown(other[name])} in serving ({serving['by']}): {mend}"
            )


def _unfit(folder: Path, reading: dict[str, Any]) -> Iterator[str]:
    """Yield the reasons why a base cannot be tuned though both read it alike."""
    found, size = reading["tokens"], reading["config"]["vocab_size"]
    path = folder / "tokenizer.json"
    bos = found["roles"]["bos_token"][0]
    if found["behind"]:
        yield (
            f"{path}: post_processor: the tokenizer puts {', '.join(found['behind'])} behind every text, and so "
            "behind every prompt, before the answer: take it out"
        )
    if found["before"] not in ([], [bos]):
        yield (
            f"{folder / 'tokenizer_config.json'}: bos_token is {bos!r}, but the tokenizer puts "
            f"{', '.join(found['before'])} before every text (tokenizer.json: post_processor): set bos_token to that"
        )
    for role, (token, number) in found["roles"].items():
        if number is not None and number >= size and role != "unk_token":
            yield (
                f"{folder / 'tokenizer_config.json'}: {role} {token!r} is {number}, but the model has {size} tokens "
                "(config.json: vocab_size): name one of them"
            )
    if found["disguised"]:
        yield (
            f"{path}: added_tokens: {_shown(found['disguised'][0])} in a post would be read as a control token: set "
            "normalized to false for them"
        )


def proven(tuning: dict[str, Any], serving: dict[str, Any]) -> tuple[str, str] | None:
    """Return key and words of the first mend with which both read the same tokens, or None."""
    served = {mend["words"]: mend["digest"] for mend in serving["mends"]}
    for mend in tuning["mends"]:
        if mend["digest"] and mend["digest"] == served.get(mend["words"]):
            return mend["key"], mend["words"]
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


if __name__ == "__main__":
    run(main)
