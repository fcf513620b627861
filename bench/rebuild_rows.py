"""Rows of the rebuild table: a change, and the steps that are expected to run again after it.

`change(folder)` alters a built checkout of the tiny chain and returns the folder to build in; a step is expected if it
must run, and not if it is skipped or comes from the store.
"""

import ast
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from adapter_build.lineage.attested_steps import read_lineage
from adapter_build.records.splits import SPLITS

ADAPTER = "law-titlegen"
TUNED = {f"{step}/{ADAPTER}" for step in ("tune_adapter", "export_adapter", "evaluate_adapter", "stage_adapter")}
CURATED = {f"curate_split/{split}" for split in SPLITS}


@dataclass(frozen=True)
class Row:
    """One change, the steps that it must execute, and options of Snakemake for the build after it."""

    name: str
    change: Callable[[Path], Path]
    executed: set[str] = field(default_factory=set)
    options: tuple[str, ...] = ()


def prompts(adapter: str, *splits: str) -> set[str]:
    """Return the steps that make an adapter's prompts."""
    return {f"format_prompts/{adapter}/{split}" for split in splits or SPLITS}


def _nothing(folder: Path) -> Path:
    return folder


def _touch(folder: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file() and not {".snakemake", ".venvs", ".store"} & set(path.relative_to(folder).parts):
            os.utime(path)
    return folder


def _move(folder: Path) -> Path:
    return folder.rename(folder.with_name("elsewhere"))


def _replace(name: str, old: str, new: str) -> Callable[[Path], Path]:
    def change(folder: Path) -> Path:
        text = (folder / name).read_text()
        assert text.count(old) == 1, (name, old)
        (folder / name).write_text(text.replace(old, new))
        return folder

    return change


def _append(name: str, text: str) -> Callable[[Path], Path]:
    def change(folder: Path) -> Path:
        with open(folder / name, "a") as file:
            file.write(text)
        return folder

    return change


def _remark_everywhere(folder: Path) -> Path:
    """Put a comment and a blank line into every module, and reword the docstring of every function."""
    for path in [path for name in ("scripts", "adapter_build") for path in (folder / name).rglob("*.py")]:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (said := ast.get_docstring(node, clean=False)):
                text = text.replace(said, f"{said.rstrip()} Indeed.\n    ")
        path.write_text(f"{text}\n# a remark\n")
        ast.parse(path.read_text())
    return folder


def _retitle(split: str) -> Callable[[Path], Path]:
    """Change the title of the first record that reached a split."""

    def change(folder: Path) -> Path:
        first = json.loads((folder / f"results/prompts/{ADAPTER}/{split}.jsonl").read_text().splitlines()[0])
        raw = folder / "data/sample/law-questions.json"
        records = json.loads(raw.read_text())
        record = next(record for record in records if str(record["question_id"]) == str(first["id"]))
        record["question_title"] += " Or not?"
        raw.write_text(json.dumps(records, ensure_ascii=False, indent=1))
        return folder

    return change


def _config(change: Callable[[dict], None]) -> Callable[[Path], Path]:
    def alter(folder: Path) -> Path:
        path = folder / "tests/tiny/config.yaml"
        config = yaml.safe_load(path.read_text())
        change(config)
        path.write_text(yaml.safe_dump(config))
        return folder

    return alter


def _second_adapter(config: dict) -> None:
    answer = {"prompt": "prompts/law-answer.jq", "sequence_length": 256}
    config["adapters"]["law-answer"] = {**config["adapters"][ADAPTER], **answer}


def _lose_results(folder: Path) -> Path:
    shutil.rmtree(folder / "results")
    shutil.rmtree(folder / ".snakemake")
    return folder


def _second_machine(folder: Path) -> Path:
    """A checkout as it was cloned, with nothing but the URL of a store that the first one has filled."""
    shutil.copytree(folder / ".store", folder.with_name("shared"))
    (_lose_results(folder) / ".store").rename(folder.with_name("gone"))
    return folder


ALL_BUT_RAW = CURATED | prompts(ADAPTER) | TUNED
ROWS = [
    Row("nothing", _nothing),
    Row("every file touched", _touch),
    Row("the checkout moved", _move),
    Row("a blank in the raw JSON", _append("data/sample/law-questions.json", "\n"), {"acquire_raw"}),
    Row(
        "a title in train",
        _retitle("train"),
        {"acquire_raw", "split_records", "curate_split/train", "collect_ledger"} | prompts(ADAPTER, "train") | TUNED,
    ),
    Row(
        "a title in test",
        _retitle("test"),
        {"acquire_raw", "split_records", "curate_split/test", "collect_ledger", f"evaluate_adapter/{ADAPTER}"}
        | prompts(ADAPTER, "test"),
    ),
    Row("a comment in a curation script", _append("scripts/curate_split.py", "# a remark\n")),
    Row("a remark in every module", _remark_everywhere),
    Row(
        "a real change in it",
        _replace("scripts/curate_split.py", "{text: found[text] for text in", '{text: f"{found[text]}!" for text in'),
        ALL_BUT_RAW,
    ),
    Row("the learning rate", _config(lambda config: config["adapters"][ADAPTER].update(learning_rate=0.02)), TUNED),
    Row(
        "the prompt's wording",
        _replace("prompts/law-titlegen.jq", "concise, engaging", "short"),
        prompts(ADAPTER) | TUNED,
    ),
    Row(
        "an adapter added",
        _config(_second_adapter),
        prompts("law-answer") | {step.replace(ADAPTER, "law-answer") for step in TUNED},
    ),
    Row("a lock that no step here has", _append("containers/checks/requirements.lock", "# bumped\n")),
    Row("results/ lost, the store kept", _lose_results),
    Row("another machine, a shared store", _second_machine, options=("store={url: ../shared}",)),
]


def executed(folder: Path, before: dict[str, str]) -> set[str]:
    """Return the steps that ran since `before`, the invocations of then."""
    steps = read_lineage(folder / "results")
    return {name for name, step in steps.items() if step.invocation != before.get(name) and not step.reused}


def invocations(folder: Path) -> dict[str, str]:
    """Return step → the id of its last run."""
    return {name: step.invocation for name, step in read_lineage(folder / "results").items()}
