"""Text of others does nothing to a terminal, and a suggested command means one file alone."""

import shlex
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_build.core.printable import printable, removal

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=60)
COMMON = settings(derandomize=True, deadline=None, max_examples=400)


@COMMON
@given(ANYTHING)
def test_nothing_that_a_terminal_obeys_is_left(text):
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [c for c in shown if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")]
    assert printable(shown) == shown
    shown.encode()


@COMMON
@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs")), max_size=60))
def test_ordinary_text_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Mietkürzung, 敷金, 🏠👩‍⚖️, العربية", "Mietkürzung, 敷金, 🏠👩‍⚖️, العربية"),
        ("a\x1b[2J\x1b]0;owned\x07b", r"a\x1b[2J\x1b]0;owned\x07b"),
        ("all\r\nholds\u2028", r"all\r\nholds\u2028"),
        ("\x9b31m", r"\x9b31m"),
        ("gpj.\u202etxt", r"gpj.\u202etxt"),
        ("\udcff\ud800", r"\udcff\ud800"),
        ("a\u200bb\ufeff\U000e0041", r"a\u200bb\ufeff\U000e0041"),
    ],
)
def test_what_is_escaped(text, shown):
    assert printable(text) == shown


def test_what_is_kept_is_kept():
    assert printable("a\n\tb\x1b", kept="\n\t") == "a\n\tb\\x1b"


@COMMON
@given(ANYTHING)
def test_a_removal_is_of_one_file_or_of_none(name):
    command = removal(name, "")
    words = shlex.split(command)
    assert words == ["rm", name] or command == "remove that file by hand"


@pytest.mark.parametrize("name", ["-rf", "~", "~root/x", "a\nb", "results/../../x", "x\x1b[8m"])
def test_no_command_of_a_name_that_leads_elsewhere(name):
    assert removal(name) == "remove that file by hand, then make"
    assert removal(f"results/it is; rm -rf $HOME {ord(name[0])}").startswith("rm 'results/it is; rm -rf $HOME ")
