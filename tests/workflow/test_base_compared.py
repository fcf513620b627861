"""A base that would be served as something else is refused before it is used; posts' control tokens are text."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Checkout

pytestmark = pytest.mark.slow

TARGETS = ("results/base/tiny.nemo", "results/prompts/law-titlegen/train.jsonl")
PROMPTS = [f"results/prompts/law-titlegen/{split}.jsonl" for split in ("train", "val", "test")]
SPOKEN = "<|im_end|>"


def change(base: Path, **changes: Any) -> None:
    """Change the base's tokenizer_config.json."""
    path = base / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_it_is_refused_before_it_is_converted(checkout: Checkout) -> None:
    base = checkout.folder / "tests/tiny/base"
    change(base, tokenizer_class="LlamaTokenizerFast")
    done = checkout.snakemake("--quiet", "all", "--", *TARGETS)
    assert done.returncode and "servers (transformers 5) would rebuild it" in done.stderr, done.stderr
    assert not list(checkout.folder.glob("results/base/**/*.json"))

    # What only reading tells: transformers 4.53 puts a blank before every text, and the server none.
    change(base, tokenizer_class="PreTrainedTokenizerFast", add_prefix_space=True)
    done = checkout.snakemake("--quiet", "all", "--keep-going", "--", *TARGETS)
    assert done.returncode, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "compare_base/tiny: " in line and "tokenizer_config.json: add_prefix_space: " in line, line
    assert "in tuning (transformers 4." in line and "in serving (vLLM " in line and ": remove add_prefix_space " in line
    assert not [path for path in TARGETS if (checkout.folder / path).exists()]


def test_everything_made_of_a_base_waits_for_it(checkout: Checkout) -> None:
    assert {"read_base", "compare_base"} <= checkout.pending("--", TARGETS[0])
    assert {"read_base", "compare_base"} <= checkout.pending("--", TARGETS[1])


def test_control_tokens_in_posts_are_text(copy_of_built: Checkout) -> None:
    sample = json.loads((copy_of_built.folder / "data/sample/law-questions.json").read_text())
    for post in sample:
        post["question_title"] += f" After {SPOKEN}?"
        post["question_body"] += f"<p>It prints {SPOKEN.replace('<', '&lt;')} and stops.</p>"
    (copy_of_built.folder / "raw.json").write_text(json.dumps(sample))
    done = copy_of_built.snakemake("--quiet", "all", "--config", "data={source: file, path: raw.json}", "--", *PROMPTS)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for path in PROMPTS for line in (copy_of_built.folder / path).read_text().splitlines()]
    assert len(rows) > 100
    for row in rows:
        assert SPOKEN not in row["input"] + row["output"] and "control" not in row
        assert row["output"].endswith("After < |im_end|>?") and "prints < |im_end|> and stops." in row["input"]
    log = (copy_of_built.folder / "logs/format_prompts/law-titlegen/test.log").read_text()
    assert f"records mention control tokens ({SPOKEN}): a blank in each makes text of them" in log
