"""The end token, wherever the formats put it: found as both environments' transformers find it."""

import json
import subprocess
from pathlib import Path

import pytest
from adapter_samples import write_base
from conftest import ROOT
from end_tokens import END, OTHER, decoder, placed, places

from adapter_build.models.base_checks import check_base
from adapter_build.models.tokenizer_files import end_token

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose end token is named nowhere yet."""
    folder = tmp_path_factory.mktemp("sound") / "base"
    write_base(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["tune", "serve"])
def test_the_end_token_is_that_which_transformers_finds(sound: Path, tmp_path: Path, environment: str) -> None:
    ours = {}
    for number, place in enumerate(places()):
        folder = tmp_path / f"{number:03}"
        by_name = placed(sound, folder, *place)
        check_base(by_name.values())
        ours[folder.name] = list(end_token(by_name))
    # With an added_tokens_decoder the map is not read.
    folder = tmp_path / "999"
    ours[folder.name] = list(end_token(placed(sound, folder, END, OTHER, decoder(END), True)))
    done = subprocess.run(
        [ROOT / f".venvs/{environment}/bin/python", HERE / "print_end_tokens.py", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = {
        name: [text, number]
        for name, text, number in map(json.loads, filter(lambda line: line[:1] == "[", done.stdout.splitlines()))
    }
    assert len(ours) > 20 and set(map(tuple, ours.values())) == {(END, 2)}
    assert ours == theirs
