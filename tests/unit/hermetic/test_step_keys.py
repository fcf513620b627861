"""The code in the keys of this project's own steps: an edit runs the steps that it may change, and no other."""

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from adapter_build.hermetic.closure import closure, code_digest

FOLDERS = ("adapter_build", "scripts")
RULES = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
STEPS = [f"scripts/{path.name}" for path in sorted((ROOT / "scripts").glob("*.py")) if f'"{path.name}"' in RULES]


def modules(root: Path) -> dict[str, Path]:
    """Return the files of our code by their path in the checkout."""
    found = (path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py")))
    return {path.relative_to(root).as_posix(): path for path in found}


def digests(root: Path) -> dict[str, str]:
    """Return the digest of each step's code."""
    return {step: code_digest(root / step, root) for step in STEPS}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of our code, to be edited."""
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def comment(path: Path) -> None:
    """Put a comment and a blank line into a module, and reword the docstring of every function."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and (said := ast.get_docstring(node, clean=False)):
            text = text.replace(said, f"{said.rstrip()} Indeed.\n    ")
    path.write_text(f"# a comment\n\n{text}\n# another\n")
    ast.parse(path.read_text())


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """The digest of each step's code as it is here: where the checkout lies is not in it."""
    return digests(ROOT)


def test_every_step_is_known() -> None:
    assert len(STEPS) >= 20 and {"scripts/tune_adapter.py", "scripts/check_deployment.py"} <= set(STEPS)
    assert all((ROOT / step).is_file() for step in STEPS)


def test_closure_follows_our_imports_only() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in closure(ROOT / "scripts/step.py")}
    assert {"scripts/step.py", "adapter_build/core/faults.py", "adapter_build/hermetic/__init__.py"} <= names
    assert "adapter_build/workflow/exclusive_build.py" not in names
    assert not any("site-packages" in name for name in names)


def test_code_digest_changes_with_an_imported_module(copy: Path) -> None:
    package, step = copy / "adapter_build", copy / "scripts/step.py"
    before = code_digest(step, copy)
    (package / "workflow/exclusive_build.py").write_text("# nothing to do with step.py\n")
    assert code_digest(step, copy) == before
    host = (package / "hermetic/host.py").read_text()
    (package / "hermetic/host.py").write_text(f"{host}# a comment\n")
    assert code_digest(step, copy) == before
    (package / "hermetic/host.py").write_text(f"{host}CHANGED = True\n")
    assert code_digest(step, copy) == before
    (package / "hermetic/host.py").write_text(f"{host}print(running)\n")
    assert code_digest(step, copy) != before


def test_a_comment_in_every_module_changes_no_key(copy: Path, before: dict[str, str]) -> None:
    for path in modules(copy).values():
        comment(path)
    assert digests(copy) == before


@pytest.mark.slow
def test_a_comment_in_one_module_after_the_other_changes_no_key(copy: Path, before: dict[str, str]) -> None:
    users: dict[Path, list[str]] = {}
    for step in STEPS:
        for path in closure(copy / step, copy):
            users.setdefault(path, []).append(step)
    for path, steps in users.items():
        comment(path)
        assert {step: code_digest(copy / step, copy) for step in steps} == {step: before[step] for step in steps}, path


TUNING = "adapter_build/tuning"
# Each: an edit (file, old text, new text), and the steps whose key it changes.
EDITS = {
    "the estimate of a GPU's memory": (f"{TUNING}/gpu_memory.py", "most * 3 // 100", "most * 4 // 100", set()),
    "what a layer is reckoned to keep": (f"{TUNING}/layer_memory.py", "PROCESSORS = 132", "PROCESSORS = 144", set()),
    "what is proposed where it does not fit": (f"{TUNING}/gpu_preflight.py", "LEAST = 1024", "LEAST = 2048", set()),
    "which settings go together": (
        f"{TUNING}/pack_settings.py", "if packed < adapter", "if packed + 1 < adapter", set()
    ),
    "what goes into which pack": (
        "adapter_build/kernels/packing.py", "heap = [(0, number)", "heap = [(1, number)", {"tune_adapter"}
    ),
    "the greatest gradient": (f"{TUNING}/nemo_tuning.py", "CLIP = 1.0", "CLIP = 2.0", {"tune_adapter"}),
    "a name that nothing reads": (f"{TUNING}/nemo_tuning.py", "CLIP = 1.0", "CLIP = 1.0\nCLAP = 2.0", set()),
    "when a file system is full": ("adapter_build/core/file_systems.py", "SPARE = 2**20", "SPARE = 2**21", set()),
    "what a program is told of by name": (
        "adapter_build/serving/engine_health.py", 'Path("reason")', 'Path("cause")', {"check_deployment"}
    ),
    "what is taken out of a post": (
        "adapter_build/records/html_text.py", "SIGNS = frozenset({", 'SIGNS = frozenset({"x", ', {"curate_split"}
    ),
    "what runs steps": ("adapter_build/hermetic/action.py", '"version": 3', '"version": 4', set()),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITS)
def test_an_edit_changes_the_keys_that_it_may_and_no_other(copy: Path, before: dict[str, str], case: str) -> None:
    name, old, new, changed = EDITS[case]
    text = (copy / name).read_text()
    assert text.count(old) == 1
    (copy / name).write_text(text.replace(old, new))
    after = digests(copy)
    assert {Path(step).stem for step in STEPS if after[step] != before[step]} == changed


# Each mark is a promise that no byte of a result depends on what is so marked: this list is to stay short.
GUARDS = [
    "core.faults.end", "core.regular_file.refuse_pointer", "core.regular_file.refuse_pointer_in",
    "models.llama_shape.check_lengths", "tune_adapter.check_rows", "tune_adapter.check_settings",
    "tuning.gpu_preflight.preflight",
]  # fmt: skip


def guards() -> Iterator[tuple[str, ast.stmt]]:
    """Yield every definition that is marked as a guard, with its name."""
    for name, path in modules(ROOT).items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "guard" in map(ast.unparse, node.decorator_list):
                module = name.removeprefix("adapter_build/").removeprefix("scripts/").removesuffix(".py")
                yield f"{module.replace('/', '.')}.{node.name}", node


def reaches_out(node: ast.stmt) -> list[str]:
    """Return what of a guard may hand on what it computes; nothing where it may only refuse."""
    if not isinstance(node, ast.FunctionDef) or node.col_offset:
        return ["is no function of a module"]
    found = [] if node.returns and ast.unparse(node.returns) == "None" else ["is not annotated as None"]
    for part in ast.walk(node):
        if isinstance(part, ast.Return) and part.value is not None:
            found.append("returns a value")
        if isinstance(part, ast.Yield | ast.YieldFrom | ast.Await | ast.Global | ast.Nonlocal | ast.Delete):
            found.append(type(part).__name__)
        if isinstance(part, ast.Attribute | ast.Subscript) and not isinstance(part.ctx, ast.Load):
            found.append("assigns to what it was given")
    return found


def test_guards_are_few_and_only_refuse() -> None:
    found = dict(guards())
    assert sorted(found) == GUARDS
    assert not any(reaches_out(node) for node in found.values())


@pytest.mark.parametrize(
    "text",
    [
        "def a() -> int:\n    return 1", "def a() -> None:\n    return 1", "def a():\n    pass",
        "async def a() -> None:\n    pass", "def a() -> None:\n    yield", "def a(x) -> None:\n    x.y = 1",
        "def a(x) -> None:\n    x['y'] += 1", "def a() -> None:\n    global x\n    x = 1",
        "def a(x) -> None:\n    for x[0] in y:\n        pass", "class A:\n    pass",
    ],
)  # fmt: skip
def test_what_hands_something_on_is_no_guard(text: str) -> None:
    assert reaches_out(ast.parse(text).body[0])


# Ways to reach code that no syntax tree shows, and files that start code by their own names.
HIDDEN = {
    "__import__", "import_module", "run_path", "run_module", "spec_from_file_location", "SourceFileLoader", "exec",
    "eval", "exec_module", "walk_packages", "iter_modules",
}  # fmt: skip


def hidden(text: str, names: set[str]) -> Iterator[str]:
    """Yield what of a module the walk over syntax trees cannot see: modules by computed names, code in strings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in HIDDEN:
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr in HIDDEN - {"eval", "exec"}:
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and "*" in {one.name for one in node.names}:
            yield f"from {node.module} import *"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.search(r"^ *(from|import) adapter_build", node.value, re.MULTILINE):
                yield "code in a string"
            if re.search(r"adapter_build[.\w]*:\w", node.value):  # as uvicorn names a class
                yield "a name with a colon"
            if Path(node.value).name in names:
                yield node.value


def test_nothing_of_ours_is_reached_in_a_way_that_is_not_seen() -> None:
    names = {path.name for path in modules(ROOT).values()} - {"__init__.py"}
    found = {(path, what) for path in modules(ROOT).values() for what in hidden(path.read_text(), names)}
    assert {what for _, what in found} == {"confine.py", "scripts/step.py"}  # the step runner's, which is in no step
    steps = {path for step in STEPS for path in closure(ROOT / step)}
    assert not steps & {path for path, _ in found}


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\nimportlib.import_module(name)", "__import__(name)", "from adapter_build.core import *",
        "exec(text)", 'run("-c", "import os\\nfrom adapter_build.core import faults")', 'Path("x").with_name("m.py")',
        "runpy.run_path(path)", '"adapter_build.core.m:Name"',
    ],
)  # fmt: skip
def test_what_would_not_be_seen_is_told(text: str) -> None:
    assert list(hidden(text, {"m.py"}))
    assert not list(hidden('model.eval()\n"m.txt"\nprint("see adapter_build.m")', {"m.py"}))
