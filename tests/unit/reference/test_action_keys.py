"""docs/action-keys.md says of the code what the code is."""

import shutil

import pytest
from conftest import ROOT

from adapter_build.reference.action_keys import page


def test_the_page_is_that_of_the_code() -> None:
    assert page() == (ROOT / "docs/action-keys.md").read_text(), "make docs writes it anew"


@pytest.mark.parametrize(
    ("file", "text", "row"),
    [
        ("adapter_build/hermetic/action.py", "MORE = 1\n", None),
        ("adapter_build/kernels/triton_norm.py", "def more(): ...\n", "| `kernels/triton_norm` |  | tune_adapter |"),
        (
            "scripts/join_shards.py",
            "from adapter_build.core.yaml_edit import *\n",
            "| `core/yaml_edit` | join_shards |  |",
        ),
    ],
)
def test_it_follows_the_code(tmp_path, file, text, row) -> None:
    for folder in ("adapter_build", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / file, "a") as edited:
        edited.write(text)
    now, before = page(tmp_path).splitlines(), page().splitlines()
    assert (row in now and row not in before) if row else now == before
