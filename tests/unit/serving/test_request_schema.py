"""The fields of requests: this reader of schemas/openapi.json judges as jsonschema does, and knows clients."""

import inspect
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import extend
from openai.resources.chat import Completions as Chat
from openai.resources.completions import Completions

from adapter_build.serving.request_bounds import ASKED, MAX_ANSWERS, MAX_BODY, MAX_TOKENS
from adapter_build.serving.request_schema import description, fault, schemas

FIELDS = {
    path: description()["components"]["schemas"][name] for path, name in zip(ASKED, ("Completion", "Chat"), strict=True)
}
CLIENTS = {ASKED[0]: Completions, ASKED[1]: Chat}
NOT_SERVED = {
    "audio",
    "moderation",
    "prediction",
    "reasoning_effort",
    "verbosity",
    "prompt_cache_options",
    "prompt_cache_retention",
}
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.integers(-2, 1030) | st.floats() | st.floats(-3, 3) | st.text()
    | st.sampled_from(["a", "text", "none", "user", "auto", "1", "json_object"])
)  # fmt: skip
MESSAGE = {"role": "user", "content": "a"}
NAMES = st.sampled_from(["type", "role", "content", "text", "1", "include_usage", "x"])
VALUES = st.recursive(
    LEAVES, lambda part: st.lists(part, max_size=9) | st.dictionaries(NAMES | st.text(), part), max_leaves=8
)


def by_jsonschema(path: str) -> Draft202012Validator:
    """Return jsonschema's reading of what is posted to a path; a whole number is one that is written so."""
    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return extend(Draft202012Validator, type_checker=checker)({**description(), **schemas()[path]})


@pytest.mark.parametrize("path", ASKED)
@given(data=st.data())
@settings(derandomize=True, deadline=None, max_examples=400)
def test_it_judges_as_jsonschema_does(path: str, data: st.DataObject) -> None:
    """But for what JSON Schema cannot say: NaN, and half of a surrogate pair."""
    names = data.draw(st.lists(st.sampled_from(sorted(FIELDS[path]["properties"])), max_size=3, unique=True))
    asked = {"model": "law", "prompt": "a"} if path == ASKED[0] else {"model": "base", "messages": [MESSAGE]}
    asked |= {name: data.draw(VALUES) for name in names}
    try:
        json.dumps(asked, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return
    wrong = fault(asked, schemas()[path])
    assert bool(wrong) is not by_jsonschema(path).is_valid(asked), wrong
    assert wrong is None or (0 < len(wrong) < 300 and "\n" not in wrong)


@pytest.mark.parametrize("path", ASKED)
def test_what_the_openai_client_sends_is_known(path: str) -> None:
    sent = set(inspect.signature(CLIENTS[path].create).parameters)
    sent -= {"self", "extra_headers", "extra_query", "extra_body", "timeout", *NOT_SERVED}
    assert sent <= set(FIELDS[path]["properties"])


@pytest.mark.parametrize("path", ASKED)
def test_the_description_says_the_bounds(path: str) -> None:
    known = FIELDS[path]["properties"]
    assert known["max_tokens"]["maximum"] == MAX_TOKENS and known["n"]["maximum"] == MAX_ANSWERS
    assert FIELDS[path]["additionalProperties"] is False


def test_the_longest_prompt_is_the_longest_body() -> None:
    assert FIELDS[ASKED[0]]["properties"]["prompt"]["anyOf"][0]["maxLength"] == MAX_BODY


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"unknown": 1}, 'no field "unknown" is known here: leave it out'),
        ({"ä\n" * 99: 1}, "is known here: leave it out"),
        ({"prompt": "\ud800"}, "prompt holds half of a surrogate pair"),
        ({"temperature": float("nan")}, "temperature is NaN: it must be a number from 0 to 2"),
        ({"stop": [""]}, "stop[0] has 0 characters: it must be a text of 1 to 256 characters"),
        ({"logit_bias": {"-1": 1}}, 'logit_bias has an entry "-1"'),
        ({"prompt": [1, "a"]}, 'a part of prompt is "a": it must be a whole number'),
        ({"prompt": [[1, None]]}, "a part of prompt[0] is null"),
        ({"use_beam_search": True}, "use_beam_search: beam search is not served"),
        ({"structured_outputs": {"regex": "(a{1,999}){1,999}"}}, "structured_outputs: structured output is not served"),
        ({"guided_grammar": "root ::= root"}, "guided_grammar: structured output is not served"),
        ({"response_format": {"type": "json_schema"}}, "response_format.type: structured output is not served"),
    ],
)
def test_a_refusal_is_one_sentence(asked: dict[str, Any], part: str) -> None:
    wrong = fault({"model": "law", "prompt": "a", **asked}, schemas()[ASKED[0]])
    assert wrong and part in wrong and "\n" not in wrong
