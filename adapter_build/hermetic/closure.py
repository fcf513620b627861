"""The files of ours that a script is made of, and the digest of what they do.

A remark trains nothing anew: the digest is of each file's syntax tree, in which blanks, comments, line numbers and ways
of writing one thing (quotes, brackets that change nothing) are not. A docstring is left out too, unless code reads it:
argparse prints `__doc__`, so that it is a part of what such a module does. What ran, byte for byte, the attestation
says beside it.
"""

import ast
import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from adapter_build import ROOT
from adapter_build.core.digests import combine

SCRIPTS = ROOT / "scripts"
NAMED = re.compile(r"adapter_build(\.\w+)+")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class _Source:
    """A file of ours: the modules that it may import or start.

    `reads_own` its module's docstring, by its name; `reads_others`: one that may be anything's, as `main.__doc__` is.
    """

    modules: frozenset[str]
    reads_own: bool
    reads_others: bool


def closure(script: str | Path) -> list[Path]:
    """Return the script, every module of ours that it imports and every script that it names, directly or not.

    A module is named by a string that is its dotted name, as `python -m` takes it, or that of something in it. Sorted
    by path.
    """
    return sorted(_sources(script))


def code_digest(script: str | Path) -> str:
    """Return the `h1:` digest of what the script's closure does, by path relative to the checkout."""
    return combine({path.relative_to(ROOT).as_posix(): digest for path, digest in code_digests(script).items()})


def code_digests(script: str | Path) -> dict[Path, str]:
    """Return, for every file of the script's closure, the sha256 of what it does.

    All docstrings count if one of the files reads some that need not be its own.
    """
    sources = _sources(script)
    documented = any(_source(content).reads_others for content in sources.values())
    return {path: _digest(content, documented) for path, content in sorted(sources.items())}


def does_the_same(content: bytes, digest: str) -> bool:
    """Tell whether a file with this content does what the sha256 of `code_digests` says of it."""
    try:
        return digest in (_digest(content, False), _digest(content, True))
    except (SyntaxError, ValueError):
        return False


def _sources(script: str | Path) -> dict[Path, bytes]:
    found: dict[Path, bytes] = {}
    waiting = [Path(script).resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = path.read_bytes()
            source = _source(found[path])
            waiting += [file for name in source.modules for file in _files(name)]
    return found


# By content, since a module is in the closure of many scripts.


@functools.cache
def _source(content: bytes) -> _Source:
    tree = ast.parse(content)
    modules: set[str] = set()
    own = others = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and NAMED.fullmatch(node.value):
                modules.add(node.value)
        elif isinstance(node, ast.Name):
            own |= node.id == "__doc__"
            others |= node.id == "getdoc"
        elif isinstance(node, ast.Attribute):
            others |= node.attr in ("__doc__", "getdoc")
        elif isinstance(node, ast.Call):  # getattr(main, "__doc__")
            others |= any(isinstance(word, ast.Constant) and word.value == "__doc__" for word in node.args)
        elif isinstance(node, ast.ClassDef):  # in its body, __doc__ is its own
            others |= any(isinstance(part, ast.Name) and part.id == "__doc__" for part in ast.walk(node))
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    return _Source(frozenset(modules), own, others)


@functools.cache
def _digest(content: bytes, documented: bool) -> str:
    tree = ast.parse(content)
    own = _source(content).reads_own
    for node in ast.walk(tree):
        kept = documented or (own and isinstance(node, ast.Module))
        if isinstance(node, DOCUMENTED) and not kept and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _files(module: str) -> list[Path]:
    parts = module.split(".")
    root = ROOT if parts[0] == "adapter_build" else SCRIPTS
    packages = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    modules = [root.joinpath(*parts[:depth]).with_suffix(".py") for depth in range(1, len(parts) + 1)]
    return [file for file in [*packages, *modules] if file.is_file()]
