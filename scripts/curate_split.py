"""Curate a split with NeMo Curator, or a part of one: HTML to text, unicode repair and, with --filters on, the filters.

Curated records keep every key and the order of the split; the ledger has a row for each record of the split, and for
a dropped one the first filter that it failed, with the measured value and the bound.
"""

import argparse
import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.jsonl import read_jsonl, write_jsonl
from adapter_build.core.progress import Progress
from adapter_build.records.splits import SCORES, SPLITS, TEXTS, refuse_empty

# Records per partition. A bound on memory: no output depends on it.
PARTITION = 1000
SCORE_LIMIT = 2**53
# Makes one of Curator's executors; the one inside this process calls the given function with each finished task.
MakeExecutor = Callable[[Callable[[Any], None]], Any]


def main() -> None:
    """Write the curated split and its ledger."""
    arguments = _parse()
    with _executors(arguments) as make, tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        scratch = Path(folder)
        arguments.records = _records(arguments, scratch)
        partitions = _partition(read_jsonl(arguments.records), scratch / "in")
        entries: list[dict[str, Any]] = []
        write_jsonl(arguments.curated, _kept(_curate(partitions, scratch / "out", arguments, make), entries, arguments))
    from adapter_build.records.ledger import write_ledger

    write_ledger(arguments.ledger, entries)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=SPLITS, required=True, help="which split it is")
    parser.add_argument("--records", type=Path, required=True, help="the split, JSON Lines")
    parser.add_argument("--shard", type=int, default=0, help="with --shards: which part, from 0")
    parser.add_argument(
        "--shards", type=int, default=1, help="curate one of so many parts of the split, equal in bytes"
    )
    parser.add_argument("--executor", choices=["in_process", "ray"], default="in_process", help="what runs the stages")
    parser.add_argument("--threads", type=int, default=1, help="with ray: processors of each node")
    parser.add_argument("--nodes", type=int, default=1, help="with ray: nodes of the Slurm job that run this script")
    parser.add_argument("--filters", choices=["on", "off"], required=True, help="off: clean only")
    parser.add_argument("--min-words", type=int, required=True, help="in question and answer; the tutorial's is 50")
    parser.add_argument("--max-words", type=int, required=True, help="in question and answer; the tutorial's is 500")
    parser.add_argument("--min-score", type=float, required=True, help="of question and answer; the tutorial's is 0")
    parser.add_argument("--null-score", choices=["keep", "drop"], required=True, help="fate of an unknown score")
    parser.add_argument("--curated", type=Path, required=True, help="curated records to write, JSON Lines")
    parser.add_argument("--ledger", type=Path, required=True, help="ledger to write, Parquet")
    arguments = parser.parse_args()
    if arguments.min_words > arguments.max_words:
        raise BadInput(
            f"curate.min_words {arguments.min_words} is greater than curate.max_words {arguments.max_words}: "
            "no text can have that many words"
        )
    return arguments


def _records(arguments: argparse.Namespace, scratch: Path) -> Path:
    """Return the records to curate: the split's file, or for a shard the lines that begin in its part of the bytes."""
    if arguments.shards == 1:
        return arguments.records
    size = arguments.records.stat().st_size
    first, end = (size * shard // arguments.shards for shard in (arguments.shard, arguments.shard + 1))
    part = scratch / "part.jsonl"
    with open(arguments.records, "rb") as whole, open(part, "wb") as lines:
        if first:
            whole.seek(first - 1)
            whole.readline()  # the end of a line that is another shard's
        while whole.tell() < end and (line := whole.readline()):
            lines.write(line)
    return part


@contextlib.contextmanager
def _executors(arguments: argparse.Namespace) -> Generator[MakeExecutor]:
    """Yield the function that makes the executor; on Ray only the first of a job's nodes gets it."""
    if arguments.executor == "ray":
        from adapter_build.records.curator_ray import ray_executor

        with ray_executor(arguments.threads, arguments.nodes) as executor:
            yield lambda finished: executor
    else:
        from adapter_build.records.curator_stages import InProcessExecutor

        yield InProcessExecutor


def _partition(rows: Iterator[dict[str, Any]], folder: Path) -> dict[str, int]:
    """Cut rows into files of `PARTITION` records, with the fields that Curator needs.

    Returns the number of records of each file, by path, in order.
    """
    folder.mkdir()
    partitions: dict[str, int] = {}
    needed = (_needed(row) for row in rows)
    while batch := list(itertools.islice(needed, PARTITION)):
        path = folder / f"{len(partitions):06}.jsonl"
        partitions[str(path)] = write_jsonl(path, batch)
    return partitions


def _needed(row: dict[str, Any]) -> dict[str, Any]:
    # pandas reads no integer of more than 64 bits; a score cut to this limit still exceeds every bound.
    scores = {field: row[field] and max(-SCORE_LIMIT, min(SCORE_LIMIT, row[field])) for field in SCORES}
    return {field: row[field] for field in ("id", *TEXTS)} | scores


def _curate(
    partitions: dict[str, int], folder: Path, arguments: argparse.Namespace, make: MakeExecutor
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each record, in order, with clean texts, and its row of the ledger."""
    if not partitions:
        return
    from nemo_curator.pipeline import Pipeline

    from adapter_build.records import curator_stages

    checks = curator_stages.checks(
        filters=arguments.filters == "on",
        min_words=arguments.min_words,
        max_words=arguments.max_words,
        min_score=arguments.min_score,
        keep_null=arguments.null_score == "keep",
    )
    sizes = list(partitions.values())
    with Progress(f"curating {arguments.split}", sum(sizes), "record") as bar:
        executor = make(lambda task: bar.update(sizes[task._metadata["partition_index"]]))
        stages = curator_stages.pipeline(list(partitions), folder, checks)
        tasks = Pipeline(name="curate_split", stages=stages).run(executor) or []
    # Ray finishes partitions in any order, and the writer names its files by a hash of their path.
    tasks.sort(key=lambda task: task._metadata["partition_index"])
    curated = itertools.chain.from_iterable(read_jsonl(path) for task in tasks for path in task.data)
    for row, found in zip(read_jsonl(arguments.records), curated, strict=True):
        if row["id"] != found["id"]:
            raise RuntimeError(f"NeMo Curator returned record {found['id']} in the place of {row['id']}")
        # Only the texts are Curator's: its tables would turn an integer beside a null into a float.
        row |= {text: found[text] for text in TEXTS}
        entry = {
            "record_id": row["id"],
            "position": row["position"],
            "split": arguments.split,
            "outcome": "kept",
            "parent": row.get("parent"),
        }
        if found[curator_stages.FAILED] >= 0:
            check = checks[found[curator_stages.FAILED]]
            reason = {"filter": check.filter.name, "field": check.field, "bound": check.bound}
            entry |= {"outcome": "dropped", "step": "curate_split", "measured": found[check.column], **reason}
        yield row, entry


def _kept(
    results: Iterator[tuple[dict[str, Any], dict[str, Any]]],
    entries: list[dict[str, Any]],
    arguments: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """Yield the kept records and append every one's row to `entries`. Raises `BadInput` if none of a split is kept."""
    for row, entry in results:
        entries.append(entry)
        if entry["outcome"] == "kept":
            yield row
    if arguments.shards == 1:
        refuse_empty(arguments.split, entries)


if __name__ == "__main__":
    run(main)
