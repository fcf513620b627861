"""Hooks of Git pass what is in order, and each refuses what is not."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Checkout

PROGRAM = ROOT / ".venvs/checks/bin/pre-commit"
FILES = ("adapter_build/core/secret.py", "rules/split.smk", "adapter_build/cli/run_tests.sh")
SPOILED = {
    "ruff-format": (FILES[0], "", "x  =  1\n"),
    "ruff-check": (FILES[0], "", "import os\n"),
    "snakefmt": (FILES[1], "", "rule   another:\n  input:  'x'\n"),
    "shellcheck": (FILES[2], "", "cd $nowhere\n"),
    "reference": ("schemas/config.schema.json", '"Seed of', '"A seed of'),
}


def hooks(folder: Path, home: Path) -> str:
    """Run the hooks on some files and return what was said, after the exit code."""
    variables = {**os.environ, "HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", "init", "--quiet"], cwd=folder, env=variables, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, env=variables, check=True)
    changed = [*FILES, "schemas/config.schema.json"]
    done = subprocess.run(
        [PROGRAM, "run", "--files", *changed], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    return f"{done.returncode}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAM.is_file(), reason="needs pre-commit in .venvs/checks: make check")
def test_each_hook_passes_and_refuses(tmp_path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    checkout.fill()
    said = hooks(checkout.folder, tmp_path)
    assert said.startswith("0\n"), said
    assert said.count("Passed") == len(SPOILED), said
    for name, old, new in SPOILED.values():
        path = checkout.folder / name
        path.write_text(path.read_text().replace(old, new, 1) if old else path.read_text() + new)
    said = hooks(checkout.folder, tmp_path)
    assert said.startswith("1\n"), said
    assert [name for name in SPOILED if f"hook id: {name}\n" not in said] == [], said
