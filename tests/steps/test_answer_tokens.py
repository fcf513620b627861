"""answer_tokens: one end token, the one meant; one BOS where the tokenizer has one; what is tuned is what is served."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_chain import ROOT, python

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow  # it imports transformers


@pytest.fixture
def metaspace(tiny_base: Path, tmp_path: Path) -> Path:
    """The tiny base with a tokenizer such as Llama 2's, which adds BOS."""
    folder = tmp_path / "metaspace"
    folder.mkdir()
    shutil.copy(tiny_base / "config.json", folder)
    command = [
        ROOT / ".venvs/tune/bin/python",
        ROOT / "tests/support/metaspace_tokenizer.py",
        folder / "tokenizer.json",
    ]
    subprocess.run(command, check=True)
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}'
    )
    return folder


def test_control_tokens_in_posts_are_text(tiny_base: Path, metaspace: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"  # its control tokens are not called special
    shutil.copytree(tiny_base, plain)
    python(HERE / "unmark_special_tokens.py", tmp_path, plain)
    said = python(HERE / "check_control_tokens.py", tmp_path, tiny_base, metaspace, plain)
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("checked")] == ["False", "True", "False"]
