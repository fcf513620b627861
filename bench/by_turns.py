"""Ways to do the same, by turns, so that what else the machine does falls on all; and their rates as a table."""

import resource
import statistics
import time
from collections.abc import Callable, Mapping

RUNS = 3


def by_turns(
    works: Mapping[str, Callable[[], object]], prepare: Callable[[], object] = lambda: None
) -> dict[str, tuple[float, float]]:
    """Return label → medians of `RUNS` runs' wall and CPU seconds, children included; `prepare` is not timed."""
    taken = turns(works, RUNS, prepare)
    return {label: tuple(map(statistics.median, zip(*runs, strict=True))) for label, runs in taken.items()}


def turns(
    works: Mapping[str, Callable[[], object]],
    runs: int,
    prepare: Callable[[], object] = lambda: None,
    used: Callable[[], float] | None = None,
) -> dict[str, list[tuple[float, float]]]:
    """Return label → wall and CPU seconds of each run; `used` tells the CPU seconds so far, by default ours."""
    used = used or cpu_seconds
    taken: dict[str, list[tuple[float, float]]] = {label: [] for label in works}
    for _ in range(runs):
        for label, work in works.items():
            prepare()
            before, began = used(), time.monotonic()
            work()
            taken[label].append((time.monotonic() - began, used() - before))
    return taken


def rates(size: int, taken: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the lines of a table: what `size` bytes went through at, beside the rate of the first."""
    first = next(iter(taken.values()))[0]
    return [
        "| | GB/s | of openssl's rate | CPU s |",
        "|---|---:|---:|---:|",
        *(
            f"| {label} | {size / 1e9 / wall:.2f} | {first / wall:.0%} | {cpu:.1f} |"
            for label, (wall, cpu) in taken.items()
        ),
    ]


def cpu_seconds() -> float:
    """Return what this process and its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
