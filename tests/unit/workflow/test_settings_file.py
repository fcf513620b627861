"""Values as they are written: whatever YAML holds for a key, it means that, or one line names the key."""

import json
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_build.core.faults import BadInput
from adapter_build.workflow.config_schema import leaves
from adapter_build.workflow.configuration import SCHEMA, fill, overlaid
from adapter_build.workflow.settings_file import kind, read_settings

ROOT = Path(__file__).parents[3]


def keys():
    """Return every key of the schema with a single value: its names, and its schema."""

    def inside(schema, names):
        for name, inner in schema.get("properties", {}).items():
            if kind(inner) != "object":
                yield (*names, name), inner
            else:
                yield from inside(inner, (*names, name))
                if isinstance(inner.get("additionalProperties"), dict):
                    yield from inside(inner["additionalProperties"], (*names, name, "law-titlegen"))

    return dict(inside(SCHEMA, ()))


KEYS = keys()
SCALARS = [names for names, schema in KEYS.items() if kind(schema) != "array"]


def written(tmp_path, names, text):
    """Return what an overlay sets that has this text for a key, and the whole configuration, filled in."""
    file = tmp_path / "overlay.yaml"
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(names)]
    file.write_text("\n".join(lines) + f" {text}\n", encoding="utf-8")
    config = overlaid(ROOT / "config.yaml", file)
    fill(config, SCHEMA)
    value = config
    for name in names:
        value = value[name]
    return value


def meant(text, schema):
    """Return what a person means who writes this for a key, or None where nobody can tell. `text` is no null."""
    wanted = kind(schema)
    if wanted == "boolean":
        return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(text.lower())
    if wanted == "string":
        return text
    plain = re.sub(r"(?<=\d)_(?=\d{3}(?!\d))", "", text)
    if re.match(r"[-+]?0\d", plain) or not re.fullmatch(r"[-+.\deE]+", plain):
        return None
    try:
        return Decimal(plain)
    except InvalidOperation:
        return None


def same(value, text, schema):
    """Tell whether a value is what the text means; a number to the last digit that a float has."""
    expected = meant(text, schema)
    if "format" in schema:  # a name that begins with - is made absolute
        return Path(value).absolute() == Path(text).absolute()
    if isinstance(expected, Decimal) and isinstance(value, int | float) and not isinstance(value, bool):
        return value == (int(expected) if isinstance(value, int) and expected == int(expected) else float(expected))
    return type(value) is type(expected) and value == expected


NUMBERS = st.one_of(
    st.integers(-(10**6), 10**12).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"[-+]?[0-9_]{1,5}(\.[0-9]{0,3})?([eE][-+]?[0-9]{1,2})?", fullmatch=True),
    st.from_regex(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", fullmatch=True),
    st.from_regex(r"0[xob]?[0-9a-f]{1,4}", fullmatch=True),
    st.sampled_from([".nan", ".inf", "-.Inf", "nan", "inf", "1e999", "-0", "-0.0", "1e3", "8.0", "1_000", ".5", "5."]),
)
# fmt: off
WORDS = st.sampled_from([
    "no", "No", "NO", "yes", "on", "off", "y", "n", "true", "False", "keep", "drop", "hash", "ray", "hf", "host",
    "auto", "2024-01-01", "2024-01-01T10:00:00Z", "=", "<<",
])
# fmt: on
TEXTS = st.one_of(NUMBERS, WORDS, st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_./-]{0,8}", fullmatch=True))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(names=st.sampled_from(SCALARS), text=TEXTS)
def test_a_value_means_what_is_written_or_one_line_names_its_key(tmp_path_factory, names, text):
    try:
        value = written(tmp_path_factory.getbasetemp(), names, text)
    except BadInput as fault:
        assert str(fault).startswith(f"config: {'.'.join(names)}") and "\n" not in str(fault)
        return
    if value is None or text.lower() in ("null", "~"):
        return
    assert same(value, text, KEYS[names]), (text, value)


@pytest.mark.parametrize("text", ["010", "1:30", "no", "2024-01-01", "1e-3"])
def test_pyyaml_would_not_pass(text):
    """The failing twin of the test above: PyYAML's own reading of each of these is another value."""
    schema = {"type": "number"} if text[0].isdigit() and "-01" not in text else {"type": "string"}
    assert not same(yaml.safe_load(text), text, schema)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("adapters.law-titlegen.learning_rate", "1e-3", 0.001),
        ("adapters.law-titlegen.learning_rate", "1E-3", 0.001),
        ("adapters.law-titlegen.max_steps", "1e3", 1000),
        ("adapters.law-titlegen.max_steps", "8.0", 8),
        ("adapters.law-titlegen.max_steps", "1_000", 1000),
        ("adapters.law-titlegen.dropout", "-0.0", 0.0),
        ("deploy.nim.read_only", "no", False),
        ("deploy.nim.profile", "no", "no"),
        ("base.model", "3.10", "3.10"),
        ("base.model", "2024-01-01", "2024-01-01"),
        ("deploy.port", "null", 8000),
        ("deploy.port", "~", 8000),
        ("deploy.port", "", 8000),
        ("signing.key", '""', ""),
        ("evaluate.seed", "4294967295", 4294967295),
    ],
)
def test_a_value(tmp_path, key, text, value):
    found = written(tmp_path, key.split("."), text)
    assert found == value and type(found) is type(value) and str(found) == str(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("adapters.law-titlegen.learning_rate", '"1e-3"', "expected number, found '1e-3': write 0.001"),
        ("adapters.law-titlegen.learning_rate", '"1e-7"', "expected number, found '1e-7': write 1.0e-07"),
        ("adapters.law-titlegen.learning_rate", ".nan", "nan is not a finite number: write one in digits"),
        ("adapters.law-titlegen.alpha", ".inf", "inf is not a finite number: write one in digits"),
        ("curate.min_score", ".nan", "nan is not a finite number"),
        ("curate.min_score", "-1e999", "-inf is not a finite number"),
        ("curate.null_score", "no", "'no' is none of: keep, drop"),
        ("curate.min_words", "010", "expected integer, found '010': write it in decimal digits, without a leading 0"),
        ("curate.min_words", "0x1F", "found '0x1F': write it in decimal digits"),
        ("curate.min_words", "1:30", "expected integer, found '1:30': write it without :"),
        ("curate.min_words", "1_0", "expected integer, found '1_0': write it without _"),
        ("curate.min_words", "2.5", "expected integer, found 2.5"),
        ("curate.min_words", '"8"', "expected integer, found '8': write 8"),
        ("curate.min_words", "99999999999999999999999999", "is greater than the maximum of 2147483647"),
        ("curate.min_words", "[1]", "expected integer, found ['1']"),
        ("deploy.nim.read_only", "1", "expected true or false, found '1'"),
        ("deploy.nim.version", "two", "expected one of 1, 2, found 'two'"),
        ("data.path", "[a, b]", "expected string, found ['a', 'b']"),
        ("adapters.law-titlegen.target_modules", "q_proj", "expected a list, found 'q_proj': write [q_proj]"),
        ("curate", "[min_words]", "expected names and values, found ['min_words']"),
        ("adapters", "law", "expected names and values, found 'law'"),
        ("base.model", '"a\\nb"', "has a line break or another control character"),
    ],
)
def test_a_mistake_is_named(tmp_path, key, text, message):
    with pytest.raises(BadInput) as fault:
        written(tmp_path, key.split("."), text)
    assert str(fault.value).startswith(f"config: {key}: ") and message in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        (
            "curate",
            {"null_score": False},
            "curate.null_score: expected one of keep, drop, found false, which is how YAML",
        ),
        (
            "split",
            {"method": True},
            "split.method: expected one of hash, shuffle, found true, which is how YAML reads yes",
        ),
        ("base", {"name": 2024}, "base.name: expected string, found 2024: write it in quotes"),
        ("adapters", {2024: {"prompt": "x"}}, "adapters.2024: a name is text, found 2024: write it in quotes"),
        ("curate", {"min_score": float("nan")}, "curate.min_score: nan is not a finite number"),
    ],
)
def test_what_another_reader_made_of_it_is_named_too(section, value, message):
    """`check` is also given what YAML's own reader returns."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config[section] = value if section == "adapters" else {**config.get(section, {}), **value}
    with pytest.raises(BadInput) as fault:
        fill(config, SCHEMA)
    assert message in str(fault.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"curate: {min_words: 1}\ndata: {}\ncurate: {}\n", "line 3: 'curate' stands twice: remove or rename one"),
        (b'curate:\n  min_words: 1\n  "min_words": 2\n', "line 3: 'min_words' stands twice"),
        (b'{"devices": 0, "devices": 1}', "'devices' stands twice"),
        (b"curate:\n\tmin_words: 1\n", "line 2: found character '\\t' that cannot start any token: indent with blanks"),
        (b"- curate\n", "expected names and values, found a list"),
        (b"curate\n", "expected names and values, found one value"),
        (b"a: 1\n---\nb: 2\n", "line 2: but found another document"),
        (b"\xff\xfea", "not UTF-8: save it as UTF-8"),
        (b"a: &a {b: *a}\n", "nested too deeply, or in itself"),
        (b"? [a, b]\n: 1\n", "line 1: a name is one word of text"),
        (b"x: !!python/name:os.system\n", "line 1: could not determine a constructor"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, content, message):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(BadInput) as fault:
        read_settings(file, SCHEMA)
    assert str(fault.value).startswith(f"{file}: cannot be read (") and message in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(BadInput, match=r"mine.yaml: cannot be read \(No such file or directory\)"):
        read_settings(tmp_path / "mine.yaml", SCHEMA)


def test_json_and_anchors(tmp_path):
    file = tmp_path / "mine"
    file.write_text('{\n\t"adapters": {"a": {"learning_rate": 1e-3}},\n\t"base": {"model": "no"}}')
    assert read_settings(file, SCHEMA) == {"adapters": {"a": {"learning_rate": 0.001}}, "base": {"model": "no"}}
    file.write_text("adapters:\n  a: &a {rank: 4, seed: 1}\n  b: {<<: *a, rank: 8}\n  c: *a\n")
    adapters = overlaid(file)["adapters"]
    assert adapters == {"a": {"rank": 4, "seed": 1}, "b": {"rank": 8, "seed": 1}, "c": {"rank": 4, "seed": 1}}
    (tmp_path / "other").write_text("adapters: {a: {rank: 16}}\n")
    adapters = overlaid(file, tmp_path / "other")["adapters"]
    assert adapters["a"]["rank"] == 16 and adapters["c"]["rank"] == 4  # an alias is a copy
    file.write_text("# nothing\n")
    assert read_settings(file, SCHEMA) == {}


def test_every_whole_number_has_a_bound():
    """So that one of 30 digits is refused before a step runs."""
    for names, schema in KEYS.items():
        if kind(schema) == "integer" and "enum" not in schema:
            assert schema["maximum"] < 2**32, names


def test_every_value_is_walked():
    config = json.loads(json.dumps(overlaid(ROOT / "config.yaml")))
    fill(config, SCHEMA)
    assert {where for *_, where in leaves(config, SCHEMA)} >= {
        ".".join(names) for names in SCALARS if names != ("adapters",)
    }
