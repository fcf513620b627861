"""Compare a run's losses with those pinned in smollm2-losses.jsonl, the embedded job's own metrics.jsonl.

After a change that is meant to give other losses it is made anew, in a clean checkout in which `make` has run, by

    cp results/checkpoints/law-titlegen.metrics.jsonl tests/workflow/smollm2-losses.jsonl
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adapter_build.core.jsonl import read_jsonl

PINNED = Path(__file__).with_name("smollm2-losses.jsonl")
TOLERANCE = 1e-4  # relative
LOSSES = ("train_loss", "validation_loss")


def pinned() -> list[dict[str, Any]]:
    """Return the pinned rows of metrics.jsonl."""
    return list(read_jsonl(PINNED))


def misfits(found: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return in words where two curves are apart by more than TOLERANCE, or one has a loss that the other lacks."""
    ours, theirs = _by_step(found), _by_step(wanted)
    faults = [f"{name} of step {step}: in one curve alone" for step, name in sorted(ours.keys() ^ theirs.keys())]
    return faults + [
        f"{name} of step {step}: {ours[step, name]} in place of {theirs[step, name]}"
        for step, name in sorted(ours.keys() & theirs.keys())
        if not abs(ours[step, name] - theirs[step, name]) <= TOLERANCE * abs(theirs[step, name])  # so a NaN is one
    ]


def _by_step(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[int, str], float]:
    return {(row["step"], name): row[name] for row in rows for name in LOSSES if name in row}
