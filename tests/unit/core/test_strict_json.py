"""JSON with one meaning, and the forms of what a store and a bundle hold."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from attestation_samples import statement

from adapter_build.core import strict_json
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.attestation_schema import check_statement

REFUSED = {
    "empty": (b"", "not JSON"),
    "cut": (b'{"a": [1', "not JSON"),
    "twice": (b'{"a": 1, "a": 1}', "'a' stands in it twice"),
    "twice within": (b'[{"b": {"c\\n": 1, "c\\n": 2}}]', r"'c\\n' stands in it twice"),
    "nan": (b'{"lora_alpha": NaN}', "lora_alpha is nan, which is no number"),
    "infinity": (b"[-Infinity]", "is -inf, which is no number"),
    "too large": (b'{"r": 1e999}', "r is inf, which is no number"),
    "digits": (b"9" * 5000, "not JSON"),
    "mark": (b"\xef\xbb\xbf{}", "byte order mark"),
    "latin": (b'{"\xe9": 1}', "not UTF-8"),
    "utf-16": ("{}".encode("utf-16"), "not UTF-8"),
    "half": (b'{"a": "\\ud800"}', "lone surrogate"),
    "half a key": (b'{"\\uDFFF": 1}', "lone surrogate"),
    "deep lists": (b"[" * 65 + b"1" + b"]" * 65, "nested deeper than 64"),
    "deeper": (b"[" * 10**6, "nested deeper than 64"),
    "deep objects": (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than 64"),
    "long": (b" " * 200 + b"1", "201 bytes, where 200 are the most"),
    "two": (b"{} {}", "not JSON"),
    "nul": (b"{}\0", "not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_one_meaning_is_refused(name: str) -> None:
    content, says = REFUSED[name]
    with pytest.raises(Malformed, match=says):
        strict_json.loads(content, 200 if name == "long" else strict_json.LONGEST)


@pytest.mark.parametrize("value", [None, 0, "é\U0001f600", [], {"a": [1.5, {"b": "\n\0"}], "": True}, [[[1]]] * 3])
def test_what_has_one_is_read_as_json_reads_it(value: Any) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert strict_json.loads(text.encode()) == strict_json.loads(text) == value
    nested: Any = 1
    for _ in range(strict_json.DEEPEST):
        nested = [nested]
    assert strict_json.loads(json.dumps(nested)) == nested
    assert str(strict_json.loads(b"NaN", finite=False)) == "nan"


def _external(it: dict[str, Any]) -> dict[str, Any]:
    return it["predicate"]["buildDefinition"]["externalParameters"]


STATEMENTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "absolute": (lambda it: it["subject"][0].update(name="/etc/x"), "subject.0.name is '/etc/x', not a path below"),
    "upwards": (lambda it: it["subject"][0].update(name="results/../x"), "not a path below the checkout"),
    "nul": (lambda it: it["subject"][0].update(name="results/a\0"), "not a path"),
    "newline": (lambda it: it["subject"][0].update(name="results/a\nb"), "not a path"),
    "doubled": (lambda it: it["subject"].append(dict(it["subject"][0])), "not what it declares as outputs"),
    "option": (lambda it: it["subject"][0].update(name="-rf"), "not a path below"),
    "undeclared": (lambda it: it["subject"][0].update(name="results/other"), "not what it declares as outputs"),
    "digest": (lambda it: it["subject"][0]["digest"].update(sha256="A" * 64), "not a sha256 in hexadecimal"),
    "more digests": (lambda it: it["subject"][0]["digest"].update(md5="0"), "has md5, which is not known there"),
    "null": (lambda it: it.update(predicate=None), "predicate is None, not an object"),
    "missing": (lambda it: it.pop("subject"), "has no subject"),
    "type": (lambda it: it.update(_type="https://in-toto.io/Statement/v2"), "_type is "),
    "step": (lambda it: _external(it).update(step="../x"), "externalParameters.step is '../x'"),
    "hidden step": (lambda it: _external(it).update(step="a/.b"), "not a step's name"),
    "read otherwise": (lambda it: _external(it).update(inputs={}), "what it says was read is not"),
    "true for a number": (
        lambda it: it["predicate"]["buildDefinition"]["internalParameters"].update(threads=True), "threads is True",
    ),
    "time": (
        lambda it: it["predicate"]["runDetails"]["metadata"].update(startedOn="yesterday"), "startedOn is 'yesterday'",
    ),
    "no run": (lambda it: it["predicate"]["runDetails"]["byproducts"].clear(), "byproducts has 0 items"),
}  # fmt: skip


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_field_of_another_form_is_named(name: str) -> None:
    change, says = STATEMENTS[name]
    document = statement("x/y", "results/x", ("results/in", "/data/ü in.json"), seed=["1"])
    check_statement(document)
    change(document)
    with pytest.raises(Malformed, match=says):
        check_statement(document)
