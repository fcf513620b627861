"""The report on skipped tests: one line for want of programs, and each other reason once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from skipped import FILE, PACKAGES, lines, wanting

SOME = Path(__file__).with_name("some_skipped.py")


def run(folder: Path, tests: Path, **variables: str) -> list[str]:
    """Return the lines of a run of pytest with a configuration of its own."""
    outside = {name: value for name, value in os.environ.items() if name != FILE}
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -rfExX\n")
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "--noconftest", "-c", folder / "pytest.ini",
         "-p", "skipped", "-p", "no:cacheprovider", tests],
        env={**outside, "PYTHONPATH": str(Path(__file__).parent), **variables},
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_programs_are_wanted_in_one_line_and_other_reasons_in_one_each(tmp_path: Path) -> None:
    *_, other, wants, end = run(tmp_path, SOME)
    assert other == "skipped 1 test: left open"
    packages = "bwrap-9 dockerd-9 no-such"
    assert wants == f"skipped 6 tests for want of {packages.replace(' ', ', ')}: apt-get install {packages}"
    assert end.startswith("3 passed, 7 skipped")


def test_where_nothing_is_skipped_nothing_is_said_and_a_failure_is(tmp_path: Path) -> None:
    """The twin."""
    (tmp_path / "test_it.py").write_text("def test_that_fails():\n    assert False\n")
    said = run(tmp_path, tmp_path)
    assert not [line for line in said if line.startswith("skipped")]
    assert any(line.startswith("FAILED test_it.py::test_that_fails") for line in said)


def test_runs_at_once_tell_it_together(tmp_path: Path) -> None:
    """Each leaves its reasons in the file that both have, and says nothing."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        said = run(tmp_path / name, SOME, **{FILE: str(tmp_path / "skips")})
        assert not [line for line in said if line.startswith("skipped")]
    told = subprocess.run(
        [sys.executable, Path(__file__).with_name("skipped.py"), tmp_path / "skips"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told.startswith("skipped 2 tests: left open\nskipped 12 tests for want of ") and told.count("\n") == 2


@pytest.mark.parametrize("program", ["sh", *PACKAGES])
def test_a_program_that_is_there_is_not_wanted(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wanting("sh") == "" and lines([]) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    assert wanting(program) == f"needs {program}: apt-get install {PACKAGES.get(program, program)}"
    (tmp_path / program).write_text("")
    (tmp_path / program).chmod(0o755)
    assert wanting(program) == ""
