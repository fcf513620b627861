"""Packages of the library lean on one another in one direction, and no module of ours hides one of a site-package."""

import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

from adapter_build.reference.packages import imported, leanings

STEPS = {path.stem for path in (ROOT / "scripts").glob("*.py")} - {"find_package"}
INSTALLED = ROOT.glob(".venvs/*/lib/python3.11/site-packages/*")


def library(root: Path = ROOT) -> list[Path]:
    """Return every module of the library and every step script."""
    return sorted([*root.glob("adapter_build/**/*.py"), *root.glob("scripts/*.py")])


def there(name: str, root: Path) -> bool:
    """Tell whether a module of the library is there, or the module that has this member."""
    path = root.joinpath(*name.split("."))
    return any(place.with_suffix(".py").is_file() or (place / "__init__.py").is_file() for place in (path, path.parent))


def hiding(names: set[str], installed: set[str]) -> set[str]:
    """Return the names at the top of our path that another module has."""
    return names & (installed | sys.stdlib_module_names)


def test_no_package_leans_on_itself_by_way_of_others(tmp_path) -> None:
    TopologicalSorter(leanings()).prepare()
    for name, other in (("one", "two"), ("two", "three"), ("three", "one")):
        (tmp_path / "adapter_build" / name).mkdir(parents=True)
        (tmp_path / "adapter_build" / name / "__init__.py").write_text(f"def f():\n    import adapter_build.{other}\n")
    with pytest.raises(CycleError):
        TopologicalSorter(leanings(tmp_path)).prepare()


def test_core_leans_on_nothing_and_hermetic_on_core() -> None:
    needs = leanings()
    assert not needs["core"]
    assert needs["hermetic"] == {"core"}
    assert not [name for name, others in needs.items() if "cli" in others], "make calls cli, and nothing else does"


def test_nothing_imports_a_step_script() -> None:
    assert not [(file.name, name) for file in library() for name in imported(file) if name.split(".")[0] in STEPS]


def test_what_is_imported_of_the_library_is_there(tmp_path) -> None:
    names = {name for file in library() for name in imported(file) if name.startswith("adapter_build.")}
    assert not [name for name in names if not there(name, ROOT)], "pyright is not asked for missing modules"
    assert not there("adapter_build.core.nothing.name", ROOT)


def test_no_name_at_the_top_of_our_path_is_anothers() -> None:
    installed = {path.stem for path in INSTALLED if path.suffix in ("", ".py")}
    assert "yaml" in installed, "an environment is there"
    assert not hiding({path.stem for folder in ("", "scripts") for path in (ROOT / folder).glob("*.py")}, installed)
    assert not hiding({path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}, installed)
    assert hiding({"find_package", "yaml", "secrets"}, installed) == {"yaml", "secrets"}
