"""Install one environment from its lock: `.venvs/<name>`, built in place, every package checked by its hash.

Needs nothing but Python 3.11, since it also makes the workflow environment that everything else runs in. uv, itself
taken from the workflow lock, installs the packages: it unpacks in parallel and keeps a cache.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

from adapter_build.core.faults import BadInput, run
from adapter_build.core.pip import TORCH_INDEX, index_urls, pip_settings
from adapter_build.hermetic.environments import CUDA, VENVS, installed_lock, lock_digest, lock_file, venv_marker
from adapter_build.hermetic.terminal import StatusLine

BOOTSTRAP = "workflow"


def main() -> None:
    """Install the environment that the command line names, unless it was installed from the same lock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment", help="a folder of containers/, or tune.cuda")
    name = parser.parse_args().environment
    lock, installed, folder = lock_file(name), installed_lock(name), VENVS / name
    if not installed.is_file() or installed.read_bytes() != lock.read_bytes():
        _make(name, lock, folder)
        shutil.copyfile(lock, installed)
    marker, digest = venv_marker(name), f"{lock_digest(name)}\n"
    if not marker.exists() or marker.read_text() != digest:  # an unchanged marker keeps its time
        marker.write_text(digest)


def _make(name: str, lock: Path, folder: Path) -> None:
    if sys.version_info[:2] != (3, 11):
        raise BadInput(f"Python {sys.version.split()[0]} runs this, 3.11 is needed: make finds it or says what to type")
    if Path(sys.prefix).resolve() == folder.resolve():
        raise BadInput(f"{folder} is older than {lock} and is in use by this very command: run make environment")
    if os.pathsep in str(folder.absolute()):
        raise BadInput(
            f"{folder.absolute()}: no environment can be made below a folder with a colon: move the checkout"
        )
    log = Path("logs/environment") / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    status = StatusLine()
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=name == BOOTSTRAP, symlinks=True)
    if name == BOOTSTRAP:
        _install_uv(folder, lock, log, status)
    _install(name, folder, lock, log, status)
    packages = len(list(folder.glob("lib/python*/site-packages/*.dist-info")))
    status.finish(f"  {f'environment {name}':<32} {time.monotonic() - began:6.1f} s  ({packages} packages)")


def _install_uv(folder: Path, lock: Path, log: Path, status: StatusLine) -> None:
    pinned = re.search(r"^uv==.*", lock.read_text().replace("\\\n", " "), re.MULTILINE)
    assert pinned, f"{lock} does not pin uv"
    only_uv = folder / "uv.lock"
    only_uv.write_text(pinned[0])
    command = [folder / "bin/python", "-m", "pip", "install", "--no-deps", "--require-hashes", "-r", only_uv]
    _call([*map(str, command)], log, status, "workflow: installing uv")


def _install(name: str, folder: Path, lock: Path, log: Path, status: StatusLine) -> None:
    command = [
        str(VENVS / BOOTSTRAP / "bin" / "uv"), "pip", "install", "--no-deps", "--require-hashes", "--compile-bytecode",
        "--python", str(folder / "bin" / "python"), "--build-constraints", str(lock), "-r", str(lock),
        *_indexes(),
    ]  # fmt: skip
    try:
        _call(command, log, status, f"environment {name}")
    except BadInput:
        if name == CUDA or "torch" not in log.read_text():
            raise
        _call([*command, "--index", TORCH_INDEX], log, status, f"environment {name}, torch from its own index")


def _indexes() -> list[str]:
    """Return uv's options for the indexes that pip is set up with: uv reads none of pip's configuration."""
    settings = pip_settings(VENVS / BOOTSTRAP / "bin" / "python")
    options = [option for link in settings.get("find-links", "").split() for option in ("--find-links", link)]
    if "index-url" in settings:
        options += ["--default-index", settings["index-url"]]
    # The hashes make any index safe to ask.
    options += [option for url in index_urls(settings) for option in ("--index", url)]
    return [*options, "--index-strategy", "unsafe-best-match"]


def _call(command: list[str], log: Path, status: StatusLine, label: str) -> None:
    """Run a command into the log, its last line on the status line. Raises `BadInput` if it fails."""
    began = time.monotonic()
    last = ""
    environment = {**os.environ, "UV_NO_PROGRESS": "1", "PYTHONUNBUFFERED": "1"}
    with (
        open(log, "a", encoding="utf-8") as lines,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as child,
    ):
        assert child.stdout
        os.set_blocking(child.stdout.fileno(), False)
        while child.poll() is None:
            for line in child.stdout:
                lines.write(line)
                last = line.strip() or last
            status.show(f"  {label}: {last} ({time.monotonic() - began:.0f} s)")
            time.sleep(0.2)
        for line in child.stdout:
            lines.write(line)
            last = line.strip() or last
    if child.returncode:
        status.finish()
        raise BadInput(f"{label}: {last} (log: {log}); check the network and pip's index settings, then run make again")


if __name__ == "__main__":
    run(main)
