"""Digests of files and of sets of files."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from adapter_build.core.regular_file import open_regular


def file_digest(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with open_regular(path, links=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_digest(files: Mapping[str, str | Path]) -> str:
    """Return in-toto's dirHash (`h1:`, Go's dirhash.Hash1) of files given as name → path.

    The digest is sha256 over one line `<hex sha256>  <name>` per file, sorted by name, in base64.
    """
    return combine({name: file_digest(path) for name, path in files.items()})


def combine(digests: Mapping[str, str]) -> str:
    """Return the `h1:` digest of files whose own sha256 is known, given as name → hexadecimal digest."""
    if bad := [name for name in digests if "\n" in name]:
        raise ValueError(f"a file name with a newline cannot be digested: {bad[0]!r}")
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()
