"""The number of words of a text, in scripts with and without blanks between words.

Words are divided at blanks. Of Chinese and Japanese each character counts as a word; of scripts whose words are spelled
out without blanks (Thai, Lao, Khmer, Burmese, Tibetan, Javanese and others), each `LETTERS` characters begun in a row.
"""

import re

LETTERS = 5
CHARACTERS = "".join((
    r"\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",  # Han
    r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f",  # kana
    r"\u3100-\u312f\u31a0-\u31bf",  # bopomofo
))  # fmt: skip
SPELLED = "".join((
    r"\u0e01-\u0e3a\u0e40-\u0e4e",  # Thai
    r"\u0e81-\u0ece\u0edc-\u0edf",  # Lao
    r"\u0f00\u0f0b\u0f18-\u0f1f\u0f35-\u0fbc",  # Tibetan
    r"\u1000-\u103f\u1050-\u109f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f",  # Burmese
    r"\u1780-\u17d3",  # Khmer
    r"\u1950-\u19df\u1a20-\u1a7f",  # Tai Le, New Tai Lue, Tai Tham
    r"\ua980-\ua9c0",  # Javanese
))  # fmt: skip
WITHOUT_BLANKS = re.compile(f"[{CHARACTERS}{SPELLED}]")
CHARACTER = re.compile(f"[{CHARACTERS}]")
RUN = re.compile(f"[{SPELLED}]+")


def count_words(text: str) -> int:
    """Return the number of words."""
    words = text.split()
    if not WITHOUT_BLANKS.search(text):
        return len(words)
    return sum(_count(word) if WITHOUT_BLANKS.search(word) else 1 for word in words)


def _count(word: str) -> int:
    """Count the words between two blanks: characters, runs of letters, and each rest that has a letter or a digit."""
    rest, characters = CHARACTER.subn(" ", word)
    spelled = sum(-(-len(run) // LETTERS) for run in RUN.findall(rest))
    others = RUN.sub(" ", rest).split()
    return characters + spelled + sum(any(map(str.isalnum, other)) for other in others)
