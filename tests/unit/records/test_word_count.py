"""word_count: words at blanks as ever, and words of scripts that have no blanks between them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_build.records.word_count import LETTERS, count_words

quick = settings(derandomize=True, deadline=None, max_examples=300)
SPELLED = {
    "Thai": "กขคงจฉ",
    "Lao": "ກຂຄງຈ",
    "Khmer": "កខគឃង",
    "Burmese": "ကခဂဃင",
    "Tibetan": "ཀཁགངཅ",
    "Javanese": "ꦏꦑꦒꦔꦕ",
}


@quick
@given(st.text(st.characters(max_codepoint=0x6FF)))
def test_scripts_with_blanks_are_counted_at_blanks(text):
    """Latin, Greek, Cyrillic, Hebrew, Arabic and all marks: as NeMo Curator does."""
    assert count_words(text) == len(text.split())


@quick
@given(st.text("房東可以扣留カひ", min_size=1), st.text("\u3002\u3001\uff0c\uff01", max_size=3))
def test_of_chinese_and_japanese_each_character_counts(text, marks):
    assert count_words(text + marks) == len(text)
    assert count_words(f"{text}iPhone") == len(text) + 1
    assert count_words(f"One — {text} {marks}") >= len(text) + 2


@pytest.mark.parametrize("script", SPELLED)
@quick
@given(data=st.data())
def test_of_scripts_spelled_without_blanks_each_few_letters_count(script, data):
    text = data.draw(st.text(SPELLED[script], min_size=1))
    assert count_words(text) == -(-len(text) // LETTERS)


def test_korean_has_blanks_and_a_lone_mark_is_what_it_was():
    assert count_words("한국어 는 띄어쓰기") == 3
    assert count_words("naïve § 5 — “fine” 日本 😀 כן") == 9
    assert count_words("") == 0
