"""docs/action-keys.md: which module of ours is in which step's key, and which is in none."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from adapter_build import ROOT
from adapter_build.hermetic.closure import shares

NO_STEPS = ("find_package", "step")
HEAD = """# Modules in the steps' keys

Written by `make docs`; a test keeps it as the code is.

A step runs anew when the code in its action key changes. Of its script that is everything; of a module of the library
it is what the script refers to, directly or by way of others, and what importing the module executes
([hermetic/closure.py](../adapter_build/hermetic/closure.py) says how that is found). Comments, blanks and docstrings
are in no key. *Whole*: each statement of the module is in these steps' keys; *in part*: the others run nothing anew
there.
"""


def page(root: Path = ROOT) -> str:
    """Return the page on the checkout `root`."""
    steps = sorted(path.stem for path in (root / "scripts").glob("*.py") if path.stem not in NO_STEPS)
    whole: dict[str, list[str]] = {}
    part: dict[str, list[str]] = {}
    for step in steps:
        for path, (used, there) in shares(root / "scripts" / f"{step}.py", root).items():
            name = path.relative_to(root).with_suffix("").as_posix()
            if used and path.stem != step:
                (whole if used == there else part).setdefault(name, []).append(step)
    rows = [
        f"| `{name.removeprefix('adapter_build/')}` | {told(whole.get(name, []), steps)} | "
        f"{told(part.get(name, []), steps)} |"
        for name in sorted({*whole, *part})
    ]
    files = sorted(path for path in (root / "adapter_build").rglob("*.py") if path.stem != "__init__")
    names = [path.relative_to(root).with_suffix("").as_posix() for path in files]
    none = [name.removeprefix("adapter_build/") for name in names if name not in whole and name not in part]
    return "\n".join(
        [
            HEAD,
            *("| module | whole, in the key of | in part, in the key of |", "|---|---|---|", *rows, ""),
            "## In no step's key",
            "",
            ", ".join(f"`{name}`" for name in none) + ".",
            "",
            "## Guards",
            "",
            "They refuse or do nothing, so that to edit one, or what it alone uses, runs no step anew: "
            + ", ".join(f"`{name}`" for name in guards([*files, *sorted((root / "scripts").glob("*.py"))], root))
            + ".",
            "",
        ]
    )


def told(some: list[str], steps: list[str]) -> str:
    """Return names of steps in words."""
    others = [step for step in steps if step not in some]
    if len(others) < len(some):
        return "every step" + (f" but {', '.join(others)}" if others else "")
    return ", ".join(some)


def guards(files: Iterable[Path], root: Path) -> Iterator[str]:
    """Yield the functions that are marked as guards (core/faults.py)."""
    for path in files:
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.FunctionDef) and "guard" in map(ast.unparse, node.decorator_list):
                yield f"{path.relative_to(root).with_suffix('').as_posix().removeprefix('adapter_build/')}.{node.name}"
