"""Write the report: one HTML page on the build, its inputs, its quality and how to check it.

The page needs no network, no script and no other file, and holds no time, host or path of this machine: the same inputs
give the same bytes. It refuses inputs that do not belong together, since a report of two builds would be true of none.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build import ROOT
from adapter_build.core.atomic_file import replacing
from adapter_build.core.digests import combine, file_digest
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import read_jsonl
from adapter_build.core.strict_json import read_object
from adapter_build.records.ledger import read_ledger
from adapter_build.report.figures import interval_chart, loss_curve
from adapter_build.report.page import render
from adapter_build.report.summaries import data_flow, examples, loss, tuned_settings, verdict
from adapter_build.serving.sentinel import read_sentinel

MEND = "run `make`"
# Option → what follows an adapter's name in its file's.
OF_ADAPTERS = {
    "checkpoints": ".nemo",
    "metrics": ".metrics.jsonl",
    "scores": ".json",
    "predictions": ".predictions.jsonl",
}
METRICS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}


def main() -> None:
    """Read the artifacts, check that they are of one build, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    template = ROOT / "adapter_build/report/page.html.jinja"
    parser.add_argument("--template", type=Path, default=template, help="the page's Jinja template")
    parser.add_argument("--ledger", type=Path, required=True, help="ledger, one row per raw record, Parquet")
    for name, ending in OF_ADAPTERS.items():
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help=f"NAME{ending} of every adapter")
    parser.add_argument("--staged", type=Path, nargs="+", required=True, help="every staged adapter's files, NAME/FILE")
    parser.add_argument("--ready", type=Path, required=True, help="the deployment's sentinel, JSON")
    parser.add_argument("--settings", required=True, help="the effective configuration, JSON text")
    parser.add_argument("--report", type=Path, required=True, help="page to write, HTML")
    arguments = parser.parse_args()

    settings = parse_settings(arguments.settings)
    ready = read_sentinel(arguments.ready, ("adapters", "base"), ("name", "digest"), MEND)
    staged: dict[str, dict[str, Path]] = {}
    for path in arguments.staged:
        staged.setdefault(path.parent.name, {})[path.name] = path
    given = {
        **{f"--{name}": by_adapter(getattr(arguments, name), ending) for name, ending in OF_ADAPTERS.items()},
        "--staged": staged,
        str(arguments.ready): {adapter["name"]: adapter for adapter in ready["adapters"]},
    }
    check_names(settings["adapters"], given)
    if ready["base"]["name"] != settings["base"]["name"]:
        raise BadInput(
            f"{arguments.ready}: is about base {ready['base']['name']!r}, but config names another: run `make`"
        )
    adapters = [describe(name, *(of[name] for of in given.values())) for name in staged]
    for adapter in adapters:  # with the prompt, which no checkpoint knows
        settings["adapters"][adapter["name"]] |= adapter["settings"]
    page = render(
        arguments.template,
        flow=data_flow(read_ledger(arguments.ledger)),
        adapters=sorted(adapters, key=lambda adapter: adapter["name"]),
        ready=ready,
        settings=settings,
    )
    with replacing(arguments.report) as part:
        part.write_text(page, encoding="utf-8", newline="\n")


def parse_settings(text: str) -> dict[str, Any]:
    """Return the effective configuration. Raises `BadInput` if the text is no JSON object."""
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"--settings: not JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(settings, dict) or not {"adapters", "base", "curate", "evaluate"} <= settings.keys():
        raise BadInput("--settings: not an effective configuration: expected adapters, base, curate and the others")
    return settings


def by_adapter(paths: Sequence[Path], ending: str) -> dict[str, Path]:
    """Return adapter → its file, the name being what stands before `ending`."""
    return {path.name.removesuffix(ending): path for path in paths}


def check_names(names: Iterable[str], given: dict[str, dict[str, Any]]) -> None:
    """Raise `BadInput` unless every source is about the configured adapters and no other."""
    for source, found in given.items():
        if odd := sorted(set(names) ^ set(found)):
            fault = "has nothing of" if odd[0] in names else "is about an unknown"
            raise BadInput(f"{source}: {fault} adapter {odd[0]!r} (config: adapters): run `make`")


def describe(
    name: str, checkpoint: Path, metrics: Path, scores: Path, predictions: Path, staged: dict[str, Path],
    checked: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return the page's data on one adapter. Raises `BadInput` if its files are not those that were served."""
    digests = {file: file_digest(path) for file, path in sorted(staged.items())}
    if combine(digests) != checked["digest"]:
        raise BadInput(
            f"adapter {name}: the staged files have digest {combine(digests)}, served and checked was "
            f"{checked['digest']}: run `make` to check what is staged"
        )
    rouge, answered = read_object(scores, MEND), list(read_jsonl(predictions))
    if rouge["records"] != len(answered):
        raise BadInput(f"{scores}: scores of {rouge['records']} records, but {predictions} has {len(answered)}")
    curves = loss(metrics)
    rows = [(spoken, interval(rouge["base"][key]), interval(rouge["adapter"][key])) for key, spoken in METRICS.items()]
    return {
        "name": name,
        "settings": tuned_settings(checkpoint),
        "files": [{"name": file, "sha256": digest, "bytes": staged[file].stat().st_size}
                  for file, digest in digests.items()],
        "checked": checked,
        "scores": [{"name": spoken, **{side: rouge[side][key] for side in ("base", "adapter", "difference")}}
                   for key, spoken in METRICS.items()],
        "records": rouge["records"],
        "verdict": verdict(rouge["difference"]["rougeL"]),
        "loss": curves,
        "loss_chart": loss_curve(curves["train"], curves["validation"], f"Loss of {name} over optimizer steps")
        if curves["train"] or curves["validation"] else None,
        "rouge_chart": interval_chart(rows, f"ROUGE of the base and of {name} on {rouge['records']} test records"),
        "examples": examples(answered),
    }  # fmt: skip


def interval(score: dict[str, float]) -> tuple[float, float, float]:
    """Return mean, low and high of a score."""
    return score["mean"], score["low"], score["high"]


if __name__ == "__main__":
    run(main)
