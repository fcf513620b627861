"""Resources used by an engine, a process group: CPU seconds and memory."""

import os
from collections.abc import Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(group: int) -> float:
    """Return the CPU seconds of the group's living processes and of the ended ones that they have waited for."""
    return sum(sum(map(int, fields[11:15])) for fields in _stats(group)) / TICKS


def resident_mebibytes(group: int) -> float:
    """Return the resident memory of the group's processes, shared pages counted for each."""
    return sum(int(fields[21]) for fields in _stats(group)) * PAGE / 2**20


def _stats(group: int) -> Iterator[list[str]]:
    """Yield the fields of /proc/PID/stat after the command, from the state on, of each of the group's processes."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == group:
            yield fields
