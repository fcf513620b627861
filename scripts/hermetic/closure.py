"""Which of our own files a script is made of, and their digest."""

import ast
from pathlib import Path

from hermetic.digests import combine, file_digest

SCRIPTS = Path(__file__).parents[1]


def closure(script: str | Path) -> list[Path]:
    """Return the script, every module of ours that it imports and every script that it names, directly or not.

    A script is named by a string that is its file's name, as in `Path(__file__).with_name("vllm_server.py")`. Sorted
    by path.
    """
    found: set[Path] = set()
    waiting = [Path(script).resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(path)
    return sorted(found)


def code_digest(script: str | Path) -> str:
    """Return the `h1:` digest of the script's closure, by path relative to scripts/."""
    return combine({path.relative_to(SCRIPTS).as_posix(): file_digest(path) for path in closure(script)})


def _imports(path: Path) -> list[Path]:
    names: set[str] = set()
    started: list[Path] = []
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and _is_script(node.value):
            started.append(SCRIPTS / node.value)
    return [file for name in names for file in _files(name)] + started


def _is_script(value: object) -> bool:
    return isinstance(value, str) and value.endswith(".py") and "/" not in value and (SCRIPTS / value).is_file()


def _files(module: str) -> list[Path]:
    parts = module.split(".")
    packages = [SCRIPTS.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    return [file for file in [*packages, SCRIPTS.joinpath(*parts).with_suffix(".py")] if file.is_file()]
