"""Print six lines after a build: the adapters, their data and base, quality, place, checks, and the next command."""

import argparse
import io
import sys
from collections import Counter
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput, run
from adapter_build.core.strict_json import read_object
from adapter_build.records.ledger import read_ledger
from adapter_build.serving.sentinel import read_sentinel

MEND = "run: make"
WIDTH = 100  # columns of a line, at the most
DIGEST = 13  # characters of a digest: enough to tell two builds apart by eye


def main() -> None:
    """Read the build's results and print the lines. Raises `BadInput` for a missing artifact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="what the build made (default: results)")
    results = parser.parse_args().results
    needs = ("adapters", "base", "checks", "engine", "engine_version", "image_digest")
    ready = read_sentinel(
        results / "deploy/ready.json", needs, ("name", "digest", "compared_answers", "differing_answers")
    )
    scores = {a["name"]: read_object(results / f"evaluation/{a['name']}.json", MEND) for a in ready["adapters"]}
    for path in (results / "curated/ledger.parquet", results / "report/index.html"):
        if not path.is_file():
            raise BadInput(f"{path}: no such file: run: make")
    outcomes = Counter(row["outcome"] for row in read_ledger(results / "curated/ledger.parquet"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name that the terminal's encoding lacks must not fail
    for label, text in lines(results, ready, scores, outcomes):
        print(shortened(f"{label:<10}{text}"))


def lines(
    results: Path, ready: dict[str, Any], scores: dict[str, dict[str, Any]], outcomes: Counter[str]
) -> list[tuple[str, str]]:
    """Return the six lines as (label, text)."""
    built = [f"{adapter['name']} ({adapter['digest'][:DIGEST]})" for adapter in ready["adapters"]]
    base = ready["base"]
    one = next(iter(scores)) if len(scores) == 1 else "*"
    return [
        ("Built", listed(built)),
        (
            "From",
            f"{outcomes['kept']:,} of {outcomes.total():,} records kept, {outcomes['dropped']:,} dropped; "
            f"base {base['name']} ({base['digest'][:DIGEST]})",
        ),
        ("Quality", quality(scores)),
        ("Where", f"report {results}/report/index.html; {_plural('adapter', scores)} in {results}/loras/{one}/"),
        (
            "Served",
            f"{len(ready['checks'])} checks passed on {ready['engine_version']}, {_engine(ready)}; {_compared(ready)}",
        ),
        ("Next", "make serve, its curl line | edit config.yaml, .venvs/workflow/bin/snakemake -n, then make"),
    ]


def quality(scores: dict[str, dict[str, Any]]) -> str:
    """Return ROUGE-L of base and adapter, and their difference with its 95 % interval, of one adapter or of several."""
    said = []
    for name, score in scores.items():
        base, adapter, gain = (score[side]["rougeL"] for side in ("base", "adapter", "difference"))
        means = f"{base['mean']:.1f} -> {adapter['mean']:.1f}"
        interval = f"{gain['low']:+.1f} to {gain['high']:+.1f}"
        if len(scores) == 1:
            count = f"{score['records']:,} test records"
            return f"ROUGE-L {means}: {gain['mean']:+.1f} (95 %: {interval}) over the base, {count}"
        said.append(f"{name} {means} ({interval})")
    return f"ROUGE-L {listed(said, len('ROUGE-L '))}"


def listed(entries: Sequence[str], taken: int = 0) -> str:
    """Join the entries that fit on a line beside its label and `taken` columns; count the others."""
    for shown in range(len(entries), 0, -1):
        left = len(entries) - shown
        text = ", ".join(entries[:shown]) + (f", and {left} more" if left else "")
        if len(text) <= WIDTH - 10 - taken:
            break
    return text


def shortened(text: str, width: int = WIDTH) -> str:
    """Return one line of at most `width` columns, without control characters."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= width else text[: width - 3] + "..."


def _plural(word: str, of: Sized) -> str:
    return word if len(of) == 1 else f"{word}s"


def _engine(ready: dict[str, Any]) -> str:
    if ready["engine"] == "embedded":
        return "embedded (vLLM on CPU, not NIM)"
    return f"image {ready['image_digest'][: len('sha256:') + 12]}"


def _compared(ready: dict[str, Any]) -> str:
    """Return the count of checked answers that equal evaluation's, of all checked."""
    keys = ("compared_answers", "differing_answers")
    compared, differing = (sum(adapter[key] for adapter in ready["adapters"]) for key in keys)
    return f"{compared - differing}/{compared} as evaluated"


if __name__ == "__main__":
    run(main)
