"""Links and paths in documents lead to files that are there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

DOCUMENTS = sorted(
    path.relative_to(ROOT) for folder in (".", "docs", "docs/decisions") for path in (ROOT / folder).glob("*.md")
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")
# A path in code: with a folder of ours at its beginning, and nothing that stands for something else.
# A module may stand without its ending.
OURS = "adapter_build|bench|configs|containers|data|deploy|docs|profiles|prompts|rules|schemas|scripts|tests"
PATH = re.compile(rf"`((?:{OURS})/[\w./-]*)`")
STANDS_FOR = re.compile(r"/[A-Z]+\b(?!\.md)")
ANOTHERS = {"CHANGELOG.md", "docs/action-keys.md"}  # names what was; written from the tree, and names functions
MADE = {"containers/images.local.lock.yaml"}  # by a build, not tracked


def missing(text: str, folder: Path) -> Iterator[str]:
    """Yield links and paths of a document in `folder` that lead nowhere."""
    yield from (link for link in LINK.findall(text) if not (folder / link).exists())
    paths = [path for path in PATH.findall(text) if not STANDS_FOR.search(path) and path not in MADE]
    yield from (path for path in paths if not any((ROOT / f"{path}{ending}").exists() for ending in ("", ".py")))


@pytest.mark.parametrize("name", DOCUMENTS, ids=str)
def test_they_lead_somewhere(name) -> None:
    text = (ROOT / name).read_text()
    if str(name) in ANOTHERS:
        text = PATH.sub("", text)
    assert not list(missing(text, (ROOT / name).parent))


def test_one_that_leads_nowhere_is_found() -> None:
    text = "See [this](nowhere.md), [that](README.md#here), `scripts/nothing.py`, `scripts/step`, `tests/`, `logs/x`."
    assert list(missing(text, ROOT)) == ["nowhere.md", "scripts/nothing.py"]
