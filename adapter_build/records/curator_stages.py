"""The NeMo Curator pipeline of curate_split: modifiers, filters, stages, and an executor inside this process.

Importing this module imports Curator (1.4 s), so steps check their arguments first.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# With SLURM_ARRAY_TASK_ID set Curator would silently read its own shard only. Read when a pipeline runs.
os.environ["NEMO_CURATOR_SLURM_ARRAY_ENABLED"] = "0"

import pandas as pd
from loguru import logger
from nemo_curator.backends.base import BaseExecutor, BaseStageAdapter
from nemo_curator.stages.base import ProcessingStage
from nemo_curator.stages.text.filters import DocumentFilter, Score
from nemo_curator.stages.text.filters.heuristic.string import WordCountFilter
from nemo_curator.stages.text.io.reader import JsonlReader
from nemo_curator.stages.text.io.writer import JsonlWriter
from nemo_curator.stages.text.modifiers import DocumentModifier, Modify
from nemo_curator.stages.text.modifiers.unicode import UnicodeReformatter
from nemo_curator.tasks import DocumentBatch, EmptyTask, Task

from adapter_build.records.html_text import body_text, title_text
from adapter_build.records.splits import SCORES, TEXTS
from adapter_build.records.word_count import count_words

FAILED = "failed"  # the column that says which check failed first; -1: none
# Curator reports each stage at INFO.
logger.remove()
logger.add(sys.stderr, level="WARNING")


class BodyToText(DocumentModifier):
    """Modifier from HTML to its text: entities are decoded; tags, comments, scripts and styles go; code stays."""

    def modify_document(self, text: str) -> str:
        """Return the text, with blanks where a block begins or ends."""
        return body_text(text)


class TitleToText(DocumentModifier):
    """Modifier of titles, which are plain text with entities, to the text that a browser shows."""

    def modify_document(self, text: str) -> str:
        """Return the text."""
        return title_text(text)


class CollapseBlanks(DocumentModifier):
    """Modifier of white space, each run to one space: after the unicode repair, which needs U+00A0 and U+0085."""

    def modify_document(self, text: str) -> str:
        """Return the text on one line, with none at its ends."""
        return re.sub(r"\s+", " ", text).strip()


class CountedWords(WordCountFilter):
    """Curator's filter on the number of words, extended to scripts that have no blanks between words."""

    def score_document(self, text: str) -> int:
        """Return the number of words."""
        return count_words(text)


class HasText(DocumentFilter):
    """Filter that keeps a document with at least one character."""

    def __init__(self) -> None:
        super().__init__()
        self._name = "has_text"

    def score_document(self, text: str) -> int:
        """Return the number of characters."""
        return len(text)

    def keep_document(self, score: float) -> bool:
        """Keep a text that is not empty."""
        return score >= 1


class MinScore(DocumentFilter):
    """Filter that keeps a record whose votes reach a minimum; `keep_null` decides on unknown votes."""

    def __init__(self, minimum: float, keep_null: bool) -> None:
        super().__init__()
        self._name = "min_score"
        self._minimum, self._keep_null = minimum, keep_null

    def score_document(self, votes: float | None) -> float | None:
        """Return the votes unchanged; None where they are unknown."""
        return votes

    def keep_document(self, score: float | None) -> bool:
        """Compare with the minimum; pandas turns a null among numbers into NaN."""
        return self._keep_null if score is None or pd.isna(score) else score >= self._minimum


@dataclass(frozen=True)
class Check:
    """A filter on one field, with its bound in words for the ledger."""

    filter: DocumentFilter
    field: str
    bound: str

    @property
    def column(self) -> str:
        """Name of the column with the values that the filter measured."""
        return f"{self.filter.name}:{self.field}"


def checks(filters: bool, min_words: int, max_words: int, min_score: float, keep_null: bool) -> list[Check]:
    """Return the checks in their declared order; without `filters` only that no text is empty, for a prompt needs each.

    Bounds on words are inclusive and count per text; `min_score` is a number of votes.
    """
    found = [Check(HasText(), text, "1..") for text in TEXTS]
    if filters:
        words = f"{min_words}..{max_words}"
        found += [Check(CountedWords(min_words, max_words), text, words) for text in ("question", "answer")]
        found += [Check(MinScore(min_score, keep_null), field, f"{min_score:g}..") for field in SCORES]
    return found


@dataclass
class FirstFailure(ProcessingStage[DocumentBatch, DocumentBatch]):
    """Stage that asks each filter in order, as Curator's `Filter` does, and notes the first that drops the record.

    Curator's `ScoreFilter` would throw away both the record and what it measured; the ledger needs both. Run after
    `Score`, this keeps exactly the records that a `ScoreFilter` with the same filters keeps.
    """

    checks: list[Check]
    name: str = "first_failure"

    def inputs(self) -> tuple[list[str], list[str]]:
        """Name the columns that are read: those that `Score` made."""
        return ["data"], [check.column for check in self.checks]

    def outputs(self) -> tuple[list[str], list[str]]:
        """Name the column that is added."""
        return ["data"], [FAILED]

    def process(self, batch: DocumentBatch) -> DocumentBatch:
        """Return the batch with the index of the first failed check in `FAILED`."""
        table = batch.to_pandas()
        failed = pd.Series(-1, index=table.index)
        for index, check in reversed(list(enumerate(self.checks))):
            kept = table[check.column].apply(check.filter.keep_document).astype(bool)
            failed = failed.where(kept, index)
        table[FAILED] = failed
        return DocumentBatch(
            dataset_name=batch.dataset_name, data=table, _metadata=batch._metadata, _stage_perf=batch._stage_perf
        )


def cleaning() -> list[ProcessingStage]:
    """Return the stages that turn the HTML of the three texts into repaired plain text."""
    to_text = [TitleToText() if text == "title" else BodyToText() for text in TEXTS]
    # Entities are decoded by now: a `&lt;` that is still there is meant so, in a text about HTML.
    repairs = [UnicodeReformatter(unescape_html=False) for _ in TEXTS]
    blanks = [CollapseBlanks() for _ in TEXTS]
    return [Modify(modifiers, input_fields=list(TEXTS)) for modifiers in (to_text, repairs, blanks)]


def pipeline(shards: list[str], folder: Path, declared: list[Check]) -> list[Any]:
    """Return the stages that curate `shards` (JSONL files) into files of `folder`, one each, with every record kept.

    A record comes out as its id, its clean texts, what each check measured, and the index of the first that failed.
    """
    measured = [check.column for check in declared]
    return [
        # Typed by pandas' own guess, texts such as "2013" or "2020-01-01" would become numbers and dates.
        JsonlReader(
            shards,
            files_per_partition=1,
            fields=["id", *TEXTS, *SCORES],
            read_kwargs={"engine": "pandas", "dtype": False, "convert_dates": False},
        ),
        *cleaning(),
        Score(
            [check.filter for check in declared],
            score_field=measured,
            text_field=[check.field for check in declared],
        ),
        FirstFailure(declared),
        JsonlWriter(str(folder), fields=["id", *TEXTS, *measured, FAILED], write_kwargs={"double_precision": 15}),
    ]


class InProcessExecutor(BaseExecutor):
    """Executor inside this process, one partition after another: no Ray, and at most one partition in memory.

    `finished` is called with each task that leaves the last stage.
    """

    def __init__(self, finished: Callable[[Task], None] = lambda task: None) -> None:
        super().__init__()
        self._finished = finished

    def execute(self, stages: list[ProcessingStage], initial_tasks: list[Task] | None = None) -> list[Task]:
        """Return the tasks that leave the last stage, in the order of the partitions."""
        adapters = [BaseStageAdapter(stage) for stage in stages]
        for adapter in adapters:
            adapter.setup_on_node()
            adapter.setup()
        results: list[Task] = []
        try:
            for task in initial_tasks or [EmptyTask()]:
                self._through(adapters, task, results)
        finally:
            for adapter in adapters:
                adapter.teardown()
        return results

    def _through(self, adapters: list[BaseStageAdapter], task: Task, results: list[Task]) -> None:
        if not adapters:
            results.append(task)
            self._finished(task)
            return
        for following in adapters[0].process_batch([task]):
            self._through(adapters[1:], following, results)
