"""Paths of a configuration: a home folder wherever one may stand, and no folder that is named `~` or `$HOME`."""

import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_settings_file import KEYS, ROOT

from adapter_build.core.config_paths import expanded, expanded_url, plain, states
from adapter_build.core.faults import BadInput
from adapter_build.core.printable import printable
from adapter_build.nim.container import prepare_cache
from adapter_build.workflow.configuration import SCHEMA, check, fill, overlaid, section
from adapter_build.workflow.settings_file import kind

PATHS = {names: schema for names, schema in KEYS.items() if "format" in {**schema, **schema.get("items", {})}}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and a working folder in which nothing is made."""
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path
    assert not list((tmp_path / "here").iterdir())


def overlaid_with(names, text, folder):
    config = overlaid(ROOT / "config.yaml")
    inner = config
    for name in names[:-1]:
        inner = inner.setdefault(name, {})
    inner[names[-1]] = [text] if kind(KEYS[names]) == "array" else text
    fill(config, SCHEMA)
    for name in names:
        config = config[name]
    return config[0] if isinstance(config, list) else config


@pytest.mark.parametrize("names", PATHS, ids=".".join)
def test_a_home_folder_is_one_in_every_key_that_names_a_path(names, home):
    user = pwd.getpwuid(os.getuid())
    assert overlaid_with(names, "~/law {x}/a", home) == f"{home}/law {{x}}/a"
    assert overlaid_with(names, f"~{user.pw_name}/a", home) == f"{user.pw_dir}/a"
    assert overlaid_with(names, "a~/~", home) == "a~/~"
    for text in ("~", "~nobody-of-this-name/a", "$HOME/a", "${HOME}/a", "a/$USER/b", "a\nb", "a\0b", "\ud800"):
        with pytest.raises(BadInput) as fault:
            overlaid_with(names, text, home)
        assert str(fault.value).startswith(f"config: {'.'.join(names)}: ") and "\n" not in str(fault.value)


def test_the_schema_says_of_every_path_that_it_is_one():
    """By the words of the descriptions: a key added later names a file or folder, or is a word among these."""
    no_paths = {("data", "sha256"), ("base", "model"), ("base", "nemo_sha256"), ("base", "name"), ("data", "dataset")}
    for names, schema in KEYS.items():
        words = {word.strip(".,:;").lower() for word in schema["description"].split()}
        text = kind({**schema, **schema.get("items", {})}) == "string" and "enum" not in {
            **schema,
            **schema.get("items", {}),
        }
        if text and words & {"file", "files", "folder", "path", "pem", "program"} and names not in no_paths:
            assert names in PATHS, names
    assert len(PATHS) == 10


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("~", "key: ~ alone is YAML's word for nothing: write ~/ for the home folder, or null for the default"),
        ("~nobody-of-this-name/a", "key: ~nobody-of-this-name/a: no such user: write ~/ for your own home folder, or "),
        ("$HOME/a", "key: $HOME/a: no such file, and variables are not expanded here: write ~/ or the path itself"),
        ("a\nb", "key: 'a\\nb': has a line break or another control character: rename the file"),
    ],
)
def test_a_path_that_is_refused(home, path, message):
    with pytest.raises(BadInput) as fault:
        expanded("key", path)
    assert str(fault.value).startswith(message)


def test_a_dollar_in_the_name_of_a_file_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "law $2024.json").touch()
    (tmp_path / "$law.json").touch()
    for name in ("law $2024.json", "$law.json", "new $500"):
        assert expanded("key", name) == name


def test_a_store_is_a_folder_or_a_url(home):
    for url, meant in (
        ("~/shared", f"{home}/shared"), ("file://~/shared", f"file://{home}/shared"),
        ("file:///a {b}", "file:///a {b}"), ("s3://bucket/~/a", "s3://bucket/~/a"), ("", ""),
    ):  # fmt: skip
        assert expanded_url("key", url) == meant
    for url in ("$HOME/a", "file://$HOME/a", "s3://$BUCKET/a", "file://~"):
        with pytest.raises(BadInput):
            expanded_url("key", url)


def test_a_colon_would_divide_a_list_of_keys(home):
    config = overlaid(ROOT / "config.yaml")
    config["signing"]["trusted"] = [str(home / "a:b.pem")]
    os.chdir(ROOT)
    with pytest.raises(BadInput, match=r"signing\.trusted: .*a:b\.pem: a colon separates these paths: rename the file"):
        check(config)
    os.chdir(home / "here")


def test_the_audit_reads_the_same_paths(home):
    (home / "mine.yaml").write_text("signing: {key: ~/k.pem}\n")
    assert section("signing", home / "mine.yaml")["key"] == f"{home}/k.pem"


def test_nims_cache_is_never_a_folder_named_for_a_home(home):
    assert prepare_cache(Path("~/.cache/nim")) == home / ".cache/nim"
    assert (home / ".cache/nim").is_dir()
    for name in ("$HOME/nim", "~nobody-of-this-name/nim", "~"):
        with pytest.raises(BadInput, match=r"^deploy\.nim\.cache: "):
            prepare_cache(Path(name))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(st.characters(codec="utf-8") | st.sampled_from("~/${}-. '\"<>"), min_size=1, max_size=12))
def test_a_path_names_the_same_file_or_is_refused(path):
    try:
        found = expanded("key", path)
    except BadInput as fault:
        assert "\n" not in str(fault) and str(fault).startswith("key: ")
        assert any(letter in "~$" for letter in path) or printable(path) != path
        return
    assert not found.startswith("-")
    assert Path(found).absolute() == Path(path).expanduser().absolute()
    assert "~" not in found.split("/")[0] or not path.startswith("~")


def test_braces_are_followed_by_size_and_time(tmp_path):
    braced, other = tmp_path / "law {2024}.json", tmp_path / "law.json"
    braced.write_text("1")
    names = [str(braced), str(other)]
    assert plain(names) == [str(other)]
    before = states(names)
    assert len(before) == 1 and str(braced) in before[0]
    braced.write_text("12")
    assert states(names) != before
