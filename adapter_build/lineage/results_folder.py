"""The contents of a results folder: artifacts, and beside them attestations and work in progress."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from adapter_build.core.atomic_file import PART

# Beside a staged adapter, and outside its digest (adapter_bundle.py).
BUNDLE = "attestations.intoto.jsonl"
SIGNATURE = "model.sig"
# Folders of work in progress, and the names that the step runner gives there.
IN_PROGRESS = {
    ".attempts": re.compile(r"\.clock|.+\.owner|.+-\w{8}(\.lock)?|.+-[0-9a-f]{64}\.mac"),
    ".kept": re.compile(r"\.clock|.+-[0-9a-f]{64}"),
    ".digests": re.compile(rf"\.clock|[0-9a-f]{{64}}|{re.escape(PART)}[0-9a-f]{{32}}"),
}
NOT_ARTIFACTS = ("lineage", *IN_PROGRESS)  # attestations hold times


def artifacts(results: Path) -> list[Path]:
    """Return every artifact below `results`, sorted by path."""
    return sorted(
        path
        for path in results.rglob("*")
        if path.is_file()
        and path.relative_to(results).parts[0] not in NOT_ARTIFACTS
        and path.name not in (BUNDLE, SIGNATURE)
    )


def files_and_links(results: Path) -> Iterator[Path]:
    """Yield every file and link below `results`, except attestations and work in progress."""
    for folder, folders, files in os.walk(results):
        if Path(folder) == results:
            folders[:] = [name for name in folders if name not in NOT_ARTIFACTS]
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in [*links, *files])
