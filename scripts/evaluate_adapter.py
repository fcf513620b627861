"""Let base and adapter answer the same test prompts greedily, and compare both with the references by ROUGE."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import write_jsonl
from adapter_build.core.processes import gc_paused
from adapter_build.core.progress import Progress
from adapter_build.models.answer_tokens import fit_prompt
from adapter_build.models.base_checks import check_base
from adapter_build.models.base_model import base_folder
from adapter_build.records.prompts import read_prompts


def main() -> None:
    """Read the options, check them, answer, score, write."""
    options = arguments().parse_args()
    check_base(options.files)
    if {path.name for path in options.adapter_files} != {"adapter_config.json", "adapter_model.safetensors"}:
        raise BadInput("--adapter-files: expected adapter_config.json and adapter_model.safetensors")
    rows = read_prompts(options.test, options.limit)
    if not rows:
        raise BadInput(
            f"{options.test}: no records to evaluate on: give more raw records (data.path) or change split.seed"
        )
    with gc_paused():
        from adapter_build.evaluation.answers import answer_texts, load
        from adapter_build.evaluation.rouge import compare
        from adapter_build.kernels.determinism import make_repeatable

    make_repeatable(options.threads)
    with base_folder(options.files) as folder:  # an earlier base may have left files in their folder
        model, tokenizer = load(folder, options.adapter_files[0].parent)
    room = min(model.config.max_position_embeddings, options.context_length) - options.max_new_tokens
    fitted = [fit(tokenizer, row, room, options.test) for row in rows]
    prompts = [tokens for tokens, _ in fitted]
    with Progress("evaluate", total=2 * len(prompts), unit="answer") as bar:
        with model.disable_adapter():
            base = answer_texts(model, tokenizer, prompts, options.max_new_tokens, options.batch_tokens, bar)
        adapter = answer_texts(model, tokenizer, prompts, options.max_new_tokens, options.batch_tokens, bar)
    references = [row["output"].strip() for row in rows]
    scores = compare(references, base, adapter, options.resamples, options.seed)
    settings = {name: getattr(options, name) for name in ("limit", "max_new_tokens", "resamples", "seed")}
    result = {**scores, "records": len(rows), "settings": {**settings, "stemmer": True}}
    write_jsonl(
        options.predictions,
        (
            {
                "id": row.get("id"),
                "input": row["input"],
                "prompt_tokens": len(tokens),
                "cut_tokens": cut,
                **({"cut_prompt": tokens} if cut else {}),  # so that a server can be asked the same
                "reference": reference,
                "base": plain,
                "adapter": tuned,
            }
            for row, (tokens, cut), reference, plain, tuned in zip(rows, fitted, references, base, adapter, strict=True)
        ),
    )
    options.scores.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="the base's Hugging Face files")
    parser.add_argument("--adapter-files", type=Path, nargs="+", required=True, help="the adapter's config and weights")
    parser.add_argument("--test", type=Path, required=True, help="prompts {id, input, output}")
    parser.add_argument("--scores", type=Path, required=True, help="scores.json to write")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions.jsonl to write, in test order")
    for name in ("limit", "max-new-tokens", "batch-tokens", "resamples", "seed", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument(
        "--context-length", type=int, default=sys.maxsize, help="tokens of prompt and answer that the server will take"
    )
    return parser


def fit(tokenizer: Any, row: dict[str, Any], room: int, where: Path) -> tuple[list[int], int]:
    """Return the tokens of a record's prompt, at most `room`, and how many were cut. Raises `BadInput` if none fit."""
    try:
        return fit_prompt(tokenizer, row["input"], room, row.get("control", ()))
    except ValueError as error:
        raise BadInput(
            f"{where}: record {row.get('id')}: of its prompt {error}: lower evaluate.max_new_tokens"
        ) from None


if __name__ == "__main__":
    run(main)
