"""The end token, wherever the formats put it: found as both environments' transformers find it, or refused by file."""

import json
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import SPECIALS, write_base
from end_tokens import END, OTHER, decoder, placed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter_build.core.faults import BadInput
from adapter_build.models.base_checks import check_base
from adapter_build.models.tokenizer_files import end_token
from adapter_build.serving.deployment_checks import special_tokens

ROOT = Path(__file__).parents[3]
QUICK = {"derandomize": True, "deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose end token is named nowhere yet."""
    folder = tmp_path_factory.mktemp("sound") / "base"
    write_base(folder)
    return folder


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
