"""Digests of files and of sets of files: sha256, and in-toto's `h1:` over names and sha256."""

import base64
import hashlib
import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adapter_build.core.regular_file import open_regular

BUFFER = 2**20  # bytes that are read at once


def file_digest(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with open_regular(path, links=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_digest(files: Mapping[str, str | Path]) -> str:
    """Return in-toto's dirHash (`h1:`, Go's dirhash.Hash1) of files, given as name → path.

    The digest is sha256 over one line `<hex sha256>  <name>` per file, sorted by name, in base64.
    """
    return combine({name: file_digest(path) for name, path in files.items()})


def combine(digests: Mapping[str, str]) -> str:
    """Return the `h1:` digest of files whose own sha256 is known, given as name → hexadecimal digest.

    Raises `ValueError` for a name with a line break.
    """
    if bad := [name for name in digests if "\n" in name]:
        raise ValueError(f"a file name with a newline cannot be digested: {bad[0]!r}")
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()


def hash_files(paths: Iterable[Path]) -> dict[Path, str | None]:
    """Return path → sha256 in hexadecimal, with a progress bar; None for a file that cannot be read.

    The large ones come first, in as many threads as there are processors.
    """
    from adapter_build.core.progress import Progress  # imports tqdm, which a bare Python lacks

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
                with open_regular(path) as opened:
                    while size := opened.raw.readinto(buffer):
                        found.update(buffer[:size])
                        if size == BUFFER:
                            with one_at_a_time:
                                bar.update()
            except OSError:
                return None
            return found.hexdigest()

        return dict(zip(largest_first, pool.map(digest, largest_first), strict=True))
