"""Hash many files at once, with a bar: large ones first, in as many threads as there are processors."""

import hashlib
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adapter_build.core.progress import Progress
from adapter_build.core.regular_file import open_regular

BUFFER = 2**20


def hash_files(paths: Iterable[Path]) -> dict[Path, str | None]:
    """Return path → sha256 in hexadecimal; None for a file that cannot be read."""
    sizes = {path: path.stat().st_size if path.is_file() else 0 for path in paths}
    largest_first = sorted(sizes, key=lambda path: (-sizes[path], path))
    one_at_a_time = threading.Lock()
    with (
        Progress("verify", total=sum(sizes.values()) >> 20, unit="MiB") as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):

        def digest(path: Path) -> str | None:
            found = hashlib.sha256()
            buffer = memoryview(bytearray(BUFFER))
            try:
                with open_regular(path) as opened, opened.raw as file:
                    while size := file.readinto(buffer):
                        found.update(buffer[:size])
                        if size == BUFFER:
                            with one_at_a_time:
                                bar.update()
            except OSError:
                return None
            return found.hexdigest()

        return dict(zip(largest_first, pool.map(digest, largest_first), strict=True))
