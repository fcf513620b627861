"""base_settings: what transformers 5 writes is read as it means it, and what tuning would misread is refused by key."""

from pathlib import Path

import pytest
from adapter_samples import LLAMA3
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_build.core.faults import BadInput
from adapter_build.models.base_settings import (
    MEND,
    check_settings,
    dtype_for_tuning,
    rope_for_tuning,
    tokens_for_tuning,
)

WHERE = {name: Path("base") / name for name in ("config.json", "tokenizer_config.json")}
CONFIG = WHERE["config.json"]
PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast"}
BYTE_LEVEL = {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "ByteLevel"}]}}

thetas = st.sampled_from([10000.0, 5e5, 1e6])
kinds = st.sampled_from(
    [
        {"rope_type": "default"}, {}, {"type": "linear", "factor": 2.0}, {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}, dict(LLAMA3),
    ]
)  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=100)
@given(kinds, thetas, st.booleans())
def test_rope_parameters_are_given_to_tuning_in_the_old_words(kind, theta, inside):
    """A theta may stand inside or beside; what the old words say is the same either way."""
    given_kind = {key: value for key, value in kind.items() if key != "rope_theta"}
    config = {"rope_parameters": {**given_kind, **({"rope_theta": theta} if inside else {})}}
    if not inside:
        config["rope_theta"] = theta
    found = rope_for_tuning({**config, "max_position_embeddings": 2048}, CONFIG)
    if not config["rope_parameters"]:
        assert found == {}
        return
    name = kind.get("rope_type", kind.get("type", "default"))
    assert found["rope_theta"] == theta
    assert (found["rope_scaling"] or {"rope_type": "default"})["rope_type"] == name
    rest = {key: value for key, value in given_kind.items() if key not in ("type", "rope_type")}
    assert {key: (found["rope_scaling"] or {}).get(key) for key in rest} == rest


@settings(derandomize=True, deadline=None, max_examples=50)
@given(kinds, thetas)
def test_the_old_words_stay(kind, theta):
    scaling = {key: value for key, value in kind.items() if key != "rope_theta"}
    assert rope_for_tuning({"rope_theta": theta, "rope_scaling": scaling or None}, CONFIG) == {}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "not one set of parameters for all layers"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "rope_type is 'longrope'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'"),
        ({"rope_scaling": {"type": "su", "rope_type": "yarn"}}, "rope_type is 'yarn' and type 'su'"),
        ({"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 1e4}, "rope_theta is 500000.0 in it"),
        (
            {"rope_parameters": {"rope_theta": 5e5}, "rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_parameters and rope_scaling do not say the same",
        ),
        ({"rope_parameters": {"rope_type": "linear", "factor": 4}}, "write 4.0"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": [1]}, "not one set"),
    ],
)  # fmt: skip
def test_what_tuning_has_no_words_for_is_refused(config, said):
    with pytest.raises(BadInput, match=r"base/config\.json: ") as caught:
        check_settings(config, PLAIN, BYTE_LEVEL, WHERE)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("tokenizer_config", "tokenizer", "said"),
    [
        ({"tokenizer_class": "LlamaTokenizerFast"}, BYTE_LEVEL, MEND),
        ({"tokenizer_class": "LlamaTokenizer"}, BYTE_LEVEL, "tokenizer.json is byte-level"),
        ({}, BYTE_LEVEL, "tokenizer_class is None"),
        ({"tokenizer_class": "MyTokenizer"}, {}, "'MyTokenizer', which not every environment knows"),
        ({"tokenizer_class": "LlamaTokenizer", "add_eos_token": True}, {}, "add_eos_token is set"),
        ({**PLAIN, "extra_special_tokens": "<a>"}, {}, "extra_special_tokens is neither a list nor an object"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_is_read_in_two_ways_is_refused(tokenizer_config, tokenizer, said):
    with pytest.raises(BadInput, match=r"base/tokenizer_config\.json: ") as caught:
        check_settings({}, tokenizer_config, tokenizer, WHERE)
    assert said in str(caught.value)


def test_sound_settings_pass():
    check_settings({"rope_theta": 1e4}, PLAIN, BYTE_LEVEL, WHERE)
    check_settings({"rope_parameters": LLAMA3}, {"tokenizer_class": "TokenizersBackend"}, BYTE_LEVEL, WHERE)
    check_settings({"rope_parameters": LLAMA3, "rope_theta": 5e5}, {"tokenizer_class": "LlamaTokenizer"}, {}, WHERE)


def test_tokens_and_dtype_in_the_old_words():
    listed = {"extra_special_tokens": ["<a>", {"content": "<b>"}], "additional_special_tokens": ["<a>", "<c>"]}
    assert tokens_for_tuning(listed) == {
        "extra_special_tokens": {},
        "additional_special_tokens": ["<a>", "<c>", "<b>"],
    }
    assert tokens_for_tuning({"extra_special_tokens": {"image": "<i>"}}) == tokens_for_tuning({}) == {}
    assert [dtype_for_tuning(config) for config in ({"dtype": "bfloat16"}, {"torch_dtype": "a", "dtype": "b"}, {})] == [
        "bfloat16", None, None,
    ]  # fmt: skip
