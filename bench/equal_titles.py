"""Compare the embedded engine's titles with those of transformers and PEFT, text for text, in float32.

    .venvs/workflow/bin/python bench/equal_titles.py POSTS [RESULTS]

POSTS are real posts in the raw schema, also packed; they go through the project's own steps up to the prompts of the
test split. RESULTS is a finished build of the embedded job (default: results): its base and its adapter answer, asked
one at a time and eight at a time. Writes bench/equal_titles.md; exit code 1 if a title differs.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "tests", "tests/support")]

from serve_build import THREADS, serving  # noqa: E402

from adapter_build.core.jsonl import read_jsonl, write_jsonl  # noqa: E402
from adapter_build.hermetic.environments import interpreter  # noqa: E402
from adapter_build.models.answer_tokens import first_line  # noqa: E402
from adapter_build.records.prompts import read_prompts  # noqa: E402
from adapter_build.serving.inference_client import MAX_TOKENS, complete  # noqa: E402
from adapter_build.serving.served_build import base_files, checked_base, staged_adapters  # noqa: E402

PROMPTS = 64
MOST_WORDS = 550  # of a prompt: the filters' 500 and the prompt's own; a served context has 2,048 tokens
BATCH_TOKENS = 8192  # as evaluate.batch_tokens
AT_ONCE = (1, 8)


def main() -> None:
    """Answer by both, compare, write the table."""
    from conftest import Checkout

    posts, results = Path(sys.argv[1]).resolve(), Path(*sys.argv[2:3] or ["results"]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        checkout = Checkout(Path(scratch) / "checkout")
        rows = by_transformers(results, checkout.prompts(posts, "test"), Path(scratch))
        with serving(results) as server:
            counts = {number: count_equal(server.url, results, rows, number) for number in AT_ONCE}
    text = table(len(rows), counts)
    (ROOT / "bench/equal_titles.md").write_text(text)
    print(text)
    raise SystemExit(any(count != len(rows) for found in counts.values() for count in found.values()))


def table(size: int, counts: Mapping[int, Mapping[str, int]]) -> str:
    """Return the page: how many of `size` titles were equal, by how many were asked for at once."""
    lines = [
        "# Titles served and titles of transformers and PEFT",
        "",
        f"{size} real questions, prompts of {MOST_WORDS} words at the most, {MAX_TOKENS} new tokens, greedy,",
        f"float32 on CPU. `evaluate_adapter.py` answers those of {BATCH_TOKENS} tokens at once; the embedded engine as",
        "many as stated.",
        "",
        f"| at once | equal of {size}, base | equal of {size}, adapter |",
        "|---:|---:|---:|",
        *(f"| {number} | {found['base']} | {found['adapter']} |" for number, found in counts.items()),
        "",
    ]
    return "\n".join(lines)


def by_transformers(results: Path, test: Path, scratch: Path) -> list[dict[str, str]]:
    """Return predictions {id, input, base, adapter} for the first `PROMPTS` of a file that the server has room for."""
    rows = [row for row in read_prompts(test) if len(row["input"].split()) <= MOST_WORDS][:PROMPTS]
    write_jsonl(scratch / "prompts.jsonl", rows)
    (folder,) = staged_adapters(results / "loras").values()
    options = {
        "files": base_files(results / "base" / checked_base(results / "deploy/ready.json")),
        "adapter-files": [folder / name for name in ("adapter_config.json", "adapter_model.safetensors")],
        "test": [scratch / "prompts.jsonl"], "scores": [scratch / "scores"], "predictions": [scratch / "predictions"],
        "limit": [PROMPTS], "max-new-tokens": [MAX_TOKENS], "batch-tokens": [BATCH_TOKENS], "resamples": [100],
        "seed": [1], "threads": [THREADS],
    }  # fmt: skip
    words = [word for name, values in options.items() for word in (f"--{name}", *map(str, values))]
    subprocess.run([interpreter("tune"), "scripts/evaluate_adapter.py", *words], cwd=ROOT, check=True)
    return list(read_jsonl(scratch / "predictions"))


def count_equal(url: str, results: Path, rows: Sequence[Mapping[str, str]], at_once: int) -> dict[str, int]:
    """Return how many of the predictions `base` and `adapter` of `rows` are what the server answers."""
    (name,) = staged_adapters(results / "loras")
    models = {"base": checked_base(results / "deploy/ready.json"), "adapter": name}
    asked = [(kind, row) for row in rows for kind in models]
    with ThreadPoolExecutor(at_once) as pool:
        served = list(pool.map(lambda ask: complete(url, models[ask[0]], ask[1]["input"]).text, asked))
    equal = dict.fromkeys(models, 0)
    for (kind, row), text in zip(asked, served, strict=True):
        if first_line(text) == row[kind]:
            equal[kind] += 1
        else:
            said = {"id": row["id"], kind: row[kind], "served": first_line(text), "at_once": at_once}
            print(json.dumps(said, ensure_ascii=False), file=sys.stderr)
    return equal


if __name__ == "__main__":
    main()
