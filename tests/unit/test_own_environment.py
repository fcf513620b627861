"""Unit tests need the environment `workflow` alone: no NeMo, no vLLM, no NeMo Curator, and no build."""

import re
from pathlib import Path

OTHERS = re.compile(
    r"\.venvs/(tune|curate|serve)/|(import|from) (tiny_chain|warm_process|curate_worker)\b|mark\.engine"
    r"|def \w+\((.*, )?(tiny_base|deep_base|checkout|(copy_of_)?built)\b"
)


def found(folder: str) -> list[str]:
    paths = sorted((Path(__file__).parents[1] / folder).rglob("*.py"))
    return [path.name for path in paths if OTHERS.search(path.read_text(encoding="utf-8"))]


def test_unit_tests_start_no_other_environment() -> None:
    assert found("unit") == []


def test_those_that_do_are_found() -> None:
    """The twin."""
    assert "test_convert_base.py" in found("steps") and "test_tiny_chain.py" in found("workflow")
    assert "test_serve.py" in found("serving")
