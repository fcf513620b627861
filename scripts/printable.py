"""Text of others, made fit for a terminal, a log and one line: what would steer a terminal is shown, not obeyed."""

import re

# Control characters, line separators, what turns the direction of writing, what has no width, and halves of characters.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def printable(text: str, kept: str = "") -> str:
    """Return the text with every character that a terminal would obey, or not show, written as its escape.

    Letters of any script, marks, emoji with their joiners stay. `kept` are characters to let through, as a newline.
    """
    return UNSAFE.sub(lambda found: found[0] if found[0] in kept else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    """Return a character as Python writes it."""
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
