"""An answer as it is read back: the text that evaluation scores, and that a served answer is compared by."""


def first_line(text: str) -> str:
    """Return an answer's first line, without space at the ends."""
    return next(iter(text.strip().splitlines()), "").strip()
