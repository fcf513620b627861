"""Words and sizes: a docstring begins with a verb or the thing's name, a module has a size that a reader takes in."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUESTION = re.compile(r"(What|Who|Whom|Whose|Where|Whether|Which|How|Why|When)\b")
MOST = 350  # lines of a module of the library
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def asking(text: str) -> Iterator[str]:
    """Yield the first line of each docstring that begins with a question word."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and QUESTION.match(said := ast.get_docstring(node) or ""):
            yield said.splitlines()[0]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in map(ROOT.joinpath, listed.stdout.split()) if path.is_file()]


def test_docstrings_ask_nothing() -> None:
    assert [(path.name, line) for path in tracked() for line in asking(path.read_text(encoding="utf-8"))] == []


def test_a_docstring_that_asks_is_found() -> None:
    assert list(asking('def f():\n    """Whether it is so."""')) == ["Whether it is so."]
    assert list(asking('"""Wherever it lies."""')) == []


def test_modules_are_of_a_size() -> None:
    library = [path for path in tracked() if path.is_relative_to(ROOT / "adapter_build")]
    assert library
    assert [path for path in library if len(path.read_text(encoding="utf-8").splitlines()) > MOST] == []
