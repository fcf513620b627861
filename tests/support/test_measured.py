"""The share that tests cover: of processes that are measured, of files that none imported, and below the floor."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

CHECKS = ROOT / ".venvs/checks"
PACKAGES = CHECKS / "lib/python3.11/site-packages"
needs_coverage = pytest.mark.skipif(
    not (PACKAGES / "coverage").is_dir(), reason="needs coverage in .venvs/checks: make check"
)
ONE = "def called():\n    return 1\n\n\ndef never():\n    return 2\n"  # 4 statements, 3 of them run below


def share(folder: Path, floor: int, *options: str, measured: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a little of a project of two modules, one of which nothing imports, and report on it."""
    settings = (ROOT / "pyproject.toml").read_text().splitlines()
    settings = [f"fail_under = {floor}" if line.startswith("fail_under") else line for line in settings]
    (folder / "pyproject.toml").write_text("\n".join(settings))
    for name in ("adapter_build", "scripts", "data"):
        (folder / name).mkdir()
    for name in ("adapter_build/one.py", "adapter_build/two.py"):
        (folder / name).write_text(ONE)
    (folder / "adapter_build/__init__.py").touch()
    variables = {"PATH": os.environ["PATH"], "COVERAGE_DATA": str(folder / "data"), "COVERAGE_PACKAGES": str(PACKAGES)}
    if measured:
        variables |= {"COVERAGE_PROCESS_START": str(folder / "pyproject.toml")}
    program = "import adapter_build.one, os; os.fork() or adapter_build.one.called()"
    tested = {**variables, "PYTHONPATH": str(ROOT / "tests/measured")}
    subprocess.run([ROOT / ".venvs/workflow/bin/python", "-c", program], cwd=folder, env=tested, check=True)
    return subprocess.run(
        [CHECKS / "bin/python", ROOT / "tests/measured/share.py", folder / "table.txt", *options],
        cwd=folder, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


@needs_coverage
def test_the_share_is_of_all_files_and_has_a_floor(tmp_path) -> None:
    for number, (floor, options, code) in enumerate(((37, (), 0), (38, (), 2), (38, ("-k", "some"), 0))):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = share(folder, floor, *options)
        assert done.returncode == code, done.stderr
        assert "covered: 37.5 % of" in done.stdout
        assert done.stderr.startswith("error: covered: 37.5 % is below") == bool(code)
        rows = [line.split()[:3] for line in (folder / "table.txt").read_text().splitlines()]
        assert ["adapter_build/one.py", "4", "1"] in rows
        assert ["adapter_build/two.py", "4", "4"] in rows


@needs_coverage
def test_a_process_that_is_not_asked_is_not_measured(tmp_path) -> None:
    assert "covered: 0.0 % of" in share(tmp_path, 0, measured=False).stdout


def test_no_build_knows_of_it() -> None:
    asked = [path for folder in ("adapter_build", "scripts", "rules") for path in (ROOT / folder).rglob("*.py")]
    assert not [path for path in asked if "COVERAGE" in path.read_text()]


def test_the_run_of_the_tests_tells_its_processes(tmp_path) -> None:
    (tmp_path / "python").write_text('#!/bin/sh\nenv >>"$PWD/told"\n')
    (tmp_path / "python").chmod(0o755)
    for asked in ("", "1"):
        variables = {"PATH": os.environ["PATH"], "RUN": str(tmp_path), "COVERAGE": asked}
        script = ROOT / "adapter_build/cli/run_tests.sh"
        subprocess.run([script, "slow", "builds"], cwd=tmp_path, env=variables, capture_output=True, check=False)
        told = (tmp_path / "told").read_text()
        assert (f"\nCOVERAGE_PROCESS_START={tmp_path}/pyproject.toml\n" in told) == bool(asked), told
        assert (f"\nPYTHONPATH={tmp_path}/tests/measured\n" in told) == bool(asked)
