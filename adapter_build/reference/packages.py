"""Packages of the library: which imports which, and the table of them in docs/ARCHITECTURE.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from adapter_build import ROOT

LIBRARY = "adapter_build"
ROW = re.compile(r"^\| `(\w+)` \|.*\| ([\d,]+) \|[^|]*\|$", re.MULTILINE)
BEGIN, END = "<!-- packages -->\n", "<!-- end of packages -->\n"
HEAD = "| package | what it is for | lines, about | imports from |\n|---|---|---:|---|\n"
ROUNDED, ADRIFT = 100, 0.1  # lines are rounded, and written anew where they are off by a tenth: not with every edit


def architecture(root: Path = ROOT) -> str:
    """Return docs/ARCHITECTURE.md as it is, with the table that stands between its two marks written anew."""
    before, _, rest = (root / "docs/ARCHITECTURE.md").read_text("utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    return before + BEGIN + table(root, old) + END + after


def table(root: Path = ROOT, old: str = "") -> str:
    """Return a row for each package, those that the others lean on first; `old` is the table as it was."""
    needs = leanings(root)
    written = {name: int(count.replace(",", "")) for name, count in ROW.findall(old)}
    rows = [
        f"| `{name}` | {purpose(root / LIBRARY / name)} | {_about(root / LIBRARY / name, written.get(name)):,} | "
        f"{', '.join(sorted(needs[name])) or 'none'} |\n"
        for name in sorted(needs, key=lambda name: (_depth(name, needs), name))
    ]
    return HEAD + "".join(rows)


def leanings(root: Path = ROOT) -> dict[str, set[str]]:
    """Return, for each package of the library, the other packages that its modules import from."""
    names = {path.parent.name for path in (root / LIBRARY).glob("*/__init__.py")}
    return {
        name: {part for file in modules(root / LIBRARY / name) for part in _packages(file) if part in names - {name}}
        for name in names
    }


def imported(file: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def modules(folder: Path) -> list[Path]:
    """Return the files of a package."""
    return sorted(folder.rglob("*.py"))


def purpose(folder: Path) -> str:
    """Return the docstring of a package."""
    return " ".join((ast.get_docstring(ast.parse((folder / "__init__.py").read_bytes())) or "").split())


def _packages(file: Path) -> Iterator[str]:
    for name in imported(file):
        first, *others = name.split(".")
        if first == LIBRARY and others:
            yield others[0]


def _about(folder: Path, written: int | None) -> int:
    """Return the number of a package's lines, rounded; as it is written already, where that is near."""
    lines = sum(len(file.read_bytes().splitlines()) for file in modules(folder))
    if written is not None and abs(written - lines) <= max(lines * ADRIFT, ROUNDED):
        return written
    return round(lines / ROUNDED) * ROUNDED


def _depth(name: str, needs: dict[str, set[str]]) -> int:
    """Return how many packages lie between a package and one that leans on none. No cycle is expected."""
    return 1 + max((_depth(other, needs) for other in needs[name]), default=-1)
