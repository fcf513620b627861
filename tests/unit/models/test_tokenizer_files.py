"""The end token, wherever the formats put it: found as both environments' transformers find it, or refused by file."""

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import SPECIALS, write_base
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter_build.core.faults import BadInput
from adapter_build.models.base_checks import check_base, named
from adapter_build.models.tokenizer_files import end_token
from adapter_build.serving.deployment_checks import special_tokens

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
END, OTHER = SPECIALS[2], SPECIALS[0]
QUICK = {"derandomize": True, "deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def as_object(text: str) -> dict[str, Any]:
    """Return a token as transformers writes one."""
    return {
        "__type": "AddedToken", "content": text, "lstrip": False, "normalized": False, "rstrip": False,
        "single_word": False,
    }  # fmt: skip


def decoder(*texts: str) -> dict[str, Any]:
    """Return an added_tokens_decoder of these special tokens."""
    return {
        str(SPECIALS.index(text)): {key: value for key, value in as_object(text).items() if key != "__type"}
        | {"special": True}
        for text in texts
    }


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose end token is named nowhere yet."""
    folder = tmp_path_factory.mktemp("sound") / "base"
    write_base(folder)
    return folder


def placed(sound: Path, folder: Path, own: Any, mapped: Any, decoded: Any, added: bool) -> dict[str, Path]:
    """Write the base with the end token in tokenizer_config.json, special_tokens_map.json; ... leaves a key out."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sound.iterdir():
        if not (folder / path.name).exists():
            (folder / path.name).hardlink_to(path)
    tokenizer = json.loads((sound / "tokenizer.json").read_text())
    if not added:
        tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != END]
    contents = {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIALS[1], "eos_token": own,
            "added_tokens_decoder": decoded,
        },
        "special_tokens_map.json": {"bos_token": SPECIALS[1], "eos_token": mapped},
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).unlink()
        (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    return named(folder.iterdir())


def places() -> Iterator[tuple[Any, Any, Any, bool]]:
    """Yield combinations of places: the end token in one of them or both, as a text or an object."""
    forms = [END, as_object(END), ...]
    for own, mapped, decoded, added in itertools.product(forms, forms, [..., decoder(END)], [True, False]):
        if own is not ... or (mapped is not ... and decoded is ...):
            yield own, mapped, decoded, added


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


@pytest.mark.parametrize(("place", "parts"), [
    ((..., ..., ..., True), ["tokenizer_config.json", "names no eos_token"]),
    ((..., END, decoder(END), True), ["tokenizer_config.json", "names no eos_token"]),
    ((None, ..., ..., True), ["tokenizer_config.json", "names no eos_token"]),
    ((END, None, ..., True), ["special_tokens_map.json", "names no eos_token"]),
    ((END, OTHER, ..., True), ["tokenizer_config.json", repr(END), repr(OTHER), "special_tokens_map.json"]),
    ((..., "<end>", ..., True), ["special_tokens_map.json", "'<end>' is no special token"]),
    (("<end>", END, ..., True), ["tokenizer_config.json", "'<end>' is no special token"]),
    ((2, ..., ..., True), ["tokenizer_config.json", "eos_token is 2"]),
    (({"text": END}, ..., ..., True), ["eos_token is {'text'"]),
    ((END, ..., {"7": decoder(END)["2"]}, True), ["added_tokens_decoder gives", "the number 7", "tokenizer.json 2"]),
    ((END, ..., {"two": decoder(END)["2"]}, True), ["added_tokens_decoder"]),
    ((END, ..., [END], True), ["added_tokens_decoder"]),
])  # fmt: skip
def test_an_end_token_that_is_none_is_refused(sound: Path, tmp_path: Path, place: Any, parts: list[str]) -> None:
    by_name = placed(sound, tmp_path / "own", *place)
    with pytest.raises(BadInput) as fault:
        check_base(by_name.values())
    for part in parts:
        assert part in str(fault.value)


STOPS = st.one_of(
    st.just(...), st.none(), st.integers(-1, 4), st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from([True, 2.0, "2", END, {"id": 2}, [True], ["2"], [2, "0"], [[2]]]),
)  # fmt: skip


@settings(max_examples=150, **QUICK)
@given(generation=STOPS, model=STOPS, file=st.booleans())
def test_generation_stops_at_the_end_token_or_the_file_is_named(
    sound: Path, tmp_path: Path, generation: Any, model: Any, file: bool
) -> None:
    by_name = placed(sound, tmp_path / "own", END, ..., ..., True)
    for name, value in (("generation_config.json", generation), ("config.json", model)):
        content = json.loads((sound / name).read_text()) | {"eos_token_id": value}
        by_name[name].unlink()
        by_name[name].write_text(json.dumps({key: item for key, item in content.items() if item is not ...}))
    if not file:
        by_name.pop("generation_config.json")
    deciding = None
    for name, value in (("generation_config.json", generation), ("config.json", model))[not file :]:
        if value not in (..., None, []):
            deciding = name, value if isinstance(value, list) else [value]
            break
    if deciding is None or (all(type(stop) is int and stop >= 0 for stop in deciding[1]) and 2 in deciding[1]):
        check_base(by_name.values())
    else:
        with pytest.raises(BadInput, match=rf"{deciding[0]}: eos_token_id is "):
            check_base(by_name.values())


@pytest.mark.parametrize("change", [
    {"added_tokens": [{"id": "2", "content": END}]}, {"added_tokens": [END]}, {"added_tokens": END},
    {"model": {"vocab": {END: None}}}, {"model": {"vocab": [END]}}, {"model": {"vocab": 3}},
])  # fmt: skip
def test_a_tokenizer_that_is_none_is_one_line(sound: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    by_name = placed(sound, tmp_path / "own", END, ..., ..., True)
    content = json.loads(by_name["tokenizer.json"].read_text())
    by_name["tokenizer.json"].write_text(json.dumps(content | change))
    with pytest.raises(BadInput) as fault:
        check_base(by_name.values())
    assert "tokenizer.json" in str(fault.value)


def test_an_end_token_of_the_vocabulary_alone_belongs_in_no_answer(sound: Path, tmp_path: Path) -> None:
    by_name = placed(sound, tmp_path / "own", END, ..., ..., False)
    assert END not in [token["content"] for token in json.loads(by_name["tokenizer.json"].read_text())["added_tokens"]]
    assert special_tokens(list(by_name.values())) == {OTHER: 0, SPECIALS[1]: 1, END: 2}


def test_a_unigram_vocabulary_is_read(sound: Path, tmp_path: Path) -> None:
    by_name = placed(sound, tmp_path / "own", END, ..., ..., False)
    content = json.loads(by_name["tokenizer.json"].read_text())
    pieces = sorted(content["model"]["vocab"], key=content["model"]["vocab"].get)
    content["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [[piece, -1.0] for piece in pieces]}
    by_name["tokenizer.json"].write_text(json.dumps(content))
    assert end_token(by_name) == (END, 2)
