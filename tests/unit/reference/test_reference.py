"""docs/configuration.md and docs/ARCHITECTURE.md say of the tree what it is."""

import json
import shutil

from conftest import ROOT

from adapter_build.cli.write_reference import PAGES
from adapter_build.reference import configuration_page, packages

SCHEMA = "schemas/config.schema.json"


def test_the_pages_are_as_the_tree_is() -> None:
    for name in ("docs/ARCHITECTURE.md", "docs/configuration.md"):  # docs/action-keys.md has a test of its own
        assert PAGES[name]() == (ROOT / name).read_text(), f"{name}: make docs writes it anew"


def test_every_key_has_its_row_with_type_bounds_default_and_meaning() -> None:
    page = configuration_page.page()
    keys = _keys(json.loads((ROOT / SCHEMA).read_text()))
    assert len(keys) > 70
    for key, part in keys.items():
        assert f"\n| `{key}` | " in page or f"\n## `{key}`\n" in page, key
        assert part.get("description", "").replace("|", "\\|").replace("<", "&lt;") in page, key
    assert "| `adapters.<name>.dropout` | number, at least 0, below 1 | `0.0` |" in page
    assert "| `base.name` | text, of the form `^[a-z0-9][a-z0-9._-]*$` | *required* |" in page
    assert "| `split.method` | `hash` or `shuffle` | `hash` |" in page


def test_a_key_more_is_a_row_more(tmp_path) -> None:
    schema = json.loads((ROOT / SCHEMA).read_text())
    schema["properties"]["store"]["properties"]["colour"] = {"type": "string", "default": "red", "description": "Why."}
    (tmp_path / "schemas").mkdir()
    (tmp_path / SCHEMA).write_text(json.dumps(schema))
    new = set(configuration_page.page(tmp_path).splitlines()) - set(configuration_page.page().splitlines())
    assert new == {"| `store.colour` | text | `red` | Why. |"}


def test_the_table_follows_imports_and_lines_but_not_every_line(tmp_path) -> None:
    for folder in ("adapter_build", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = packages.architecture(tmp_path)
    images = tmp_path / "adapter_build/images/registry.py"
    images.write_text(images.read_text() + "\n" * 90)
    assert packages.architecture(tmp_path) == before
    images.write_text(images.read_text() + "\n" * 900 + "from adapter_build.records import ledger\n")
    row = next(line for line in packages.architecture(tmp_path).splitlines() if line.startswith("| `images`"))
    assert row.endswith("| core, hermetic, records |")
    assert "| 1,300 |" in row or "| 1,200 |" in row or "| 1,400 |" in row


def _keys(schema: dict, above: str = "") -> dict[str, dict]:
    found = {f"{above}{name}": part for name, part in schema.get("properties", {}).items()}
    if isinstance(others := schema.get("additionalProperties"), dict):
        found[f"{above}<name>"] = others
    return found | {key: part for name, inner in found.items() for key, part in _keys(inner, f"{name}.").items()}
