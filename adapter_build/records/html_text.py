"""Plain text of posts: a body is HTML, a title is plain text in which a few pairs of tags may stand.

Entities are decoded once. Of a body, known HTML elements, comments, scripts and styles are markup; another `<`, as in
`List<String>`, is text, and so is every one in a body that holds no tag at all. Of a title, only a pair of tags for
formatting around a text is markup: `10<sup>6</sup>`, but neither `<br>` nor `<script>` nor a lone `<b>`.

Raised and lowered text keeps a mark where it touches other text: `10^6`, `H_2O`, `x^(n+1)`.
"""

import re
from collections import Counter
from collections.abc import Callable

from lxml import etree

# fmt: off
# An element that begins a line of its own in a browser: text on both sides of its tags is not one word.
BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "caption", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav",
    "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})
FORMATTING = frozenset({
    "a", "abbr", "acronym", "b", "big", "cite", "code", "del", "em", "font", "i", "ins", "kbd", "mark", "q", "s",
    "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var",
})
HIDDEN = frozenset({"script", "style", "template", "rt", "rp"})  # their content is not the post's text
# In posts these stand alone as words more often than as tags, `<section>` as a blank to fill in: markup with their end
# tag or an attribute. Without its end tag some would take all that follows.
ENDED = HIDDEN | {
    "address", "area", "article", "aside", "audio", "base", "bdi", "bdo", "button", "canvas", "caption", "data",
    "datalist", "details", "dfn", "dialog", "dir", "embed", "fieldset", "figcaption", "figure", "footer", "form",
    "header", "hgroup", "iframe", "input", "label", "legend", "link", "main", "map", "menu", "meta", "meter", "nav",
    "noscript", "object", "optgroup", "output", "param", "picture", "progress", "ruby", "search", "section", "select",
    "slot", "source", "summary", "svg", "template", "textarea", "time", "title", "track", "var", "video",
}
KNOWN = BLOCKS | FORMATTING | ENDED | {
    "body", "center", "col", "colgroup", "head", "html", "img", "nobr", "option", "wbr",
}
SWALLOWING = frozenset({"script", "style", "template", "title", "textarea", "iframe", "noscript"})
FLAGS = frozenset({  # attributes that stand without a value
    "allowfullscreen", "async", "autofocus", "autoplay", "checked", "compact", "controls", "default", "defer",
    "disabled", "hidden", "inert", "ismap", "itemscope", "loop", "multiple", "muted", "nohref", "noshade",
    "novalidate", "nowrap", "open", "playsinline", "readonly", "required", "reversed", "selected",
})
# fmt: on
TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*|(?:o|v|w|m|st1):[a-zA-Z]+)(?=[\s/>]|$)([^<>]*)(>?)")
QUOTED = re.compile(r"=\s*[\"']")
DECLARATION = re.compile(r"<(?:!doctype\b|!\[(?:if|endif)\b|\?xml\b)", re.IGNORECASE)
WRAPPED = re.compile(r"\s*(<(p|div|h[1-6])(?:\s[^<>]*)?>)(.*)(</\2>)\s*", re.IGNORECASE | re.DOTALL)
MARKS = {"sup": "^", "sub": "_"}
PLAIN = re.compile(r"[+\-\u2212\u2013]?[\w.,'\u2019]+[+\-\u2212]?")  # needs no brackets
ORDINALS = frozenset({"st", "nd", "rd", "th", "er", "re", "e", "ème", "o", "os", "a", "as"})
SIGNS = frozenset({"tm", "sm", "r", "c"})


def body_text(body: str) -> str:
    """Return the text of HTML, with blanks where a block begins or ends."""
    if "<" not in body:
        return _text(body)
    return _text(_escaped(body, _markup(body)))


def title_text(title: str) -> str:
    """Return the text of a title."""
    return _text(_escaped(title, _pairs(title))) if "<" in title else _text(title)


def _escaped(text: str, markup: set[int]) -> str:
    """Write every `<` that is not in `markup` as an entity."""
    parts, start = [], 0
    for found in re.finditer("<", text):
        if found.start() not in markup:
            parts += text[start : found.start()], "&lt;"
            start = found.end()
    return "".join(parts) + text[start:]


def _markup(body: str) -> set[int]:
    """Return the places of a body at which markup begins; none if there is no whole tag."""
    lower = body.lower()
    last_comment = body.rfind("-->")
    ends: dict[str, int] = {}  # a name → its last end tag
    found: set[int] = set()
    whole = False
    for bracket in re.finditer("<", body):
        place = bracket.start()
        if body.startswith("<!--", place):
            if last_comment >= place + 4:
                found.add(place)
                whole = True
        elif DECLARATION.match(body, place):
            found.add(place)
        elif (tag := TAG.match(body, place)) and _is_tag(tag, lower, ends):
            found.add(place)
            whole = whole or bool(tag[4] or "=" in tag[3])
    return found if whole else set()


def _is_tag(tag: re.Match[str], lower: str, ends: dict[str, int]) -> bool:
    name, attributes = tag[2].lower(), tag[3].strip().rstrip("/").lower()
    if name not in KNOWN and ":" not in name:
        return False
    if name in ENDED and not tag[1] and (name in SWALLOWING or "=" not in attributes):
        if name not in ends:
            ends[name] = lower.rfind(f"</{name}")
        if ends[name] < tag.end():
            return False
    if "=" in attributes:
        return not tag[1] and attributes[0] != "=" and bool(tag[4] or QUOTED.search(attributes))
    return FLAGS.issuperset(attributes.split()) and (bool(tag[4]) or tag.end() == len(lower))


def _pairs(title: str) -> set[int]:
    """Return the places of the tags of a title that are markup: pairs around a text that touches both."""
    found: set[int] = set()
    opened: list[re.Match[str]] = []
    waiting: Counter[str] = Counter()  # the names of `opened`
    for tag in TAG.finditer(title):
        name, attributes = tag[2].lower(), tag[3].strip()
        if name not in FORMATTING or not tag[4] or (attributes and (tag[1] or "=" not in attributes)):
            continue
        if not tag[1]:
            opened.append(tag)
            waiting[name] += 1
            continue
        if not waiting[name]:
            continue
        while (last := opened.pop())[2].lower() != name:
            waiting[last[2].lower()] -= 1
        waiting[name] -= 1
        inside = title[last.end() : tag.start()]
        if inside and not inside[0].isspace() and not inside[-1].isspace():
            found |= {last.start(), tag.start()}
    if (wrapped := WRAPPED.fullmatch(title)) and not re.search(rf"</?{wrapped[2]}\b", wrapped[3], re.IGNORECASE):
        found |= {wrapped.start(1), wrapped.start(4)}
    return found


def _text(markup: str) -> str:
    markup = markup.replace("\0", "")
    if not markup.strip() or ("<" not in markup and "&" not in markup):
        return markup
    parser = etree.HTMLParser(target=_Text(), huge_tree=True)
    parser.feed(markup)
    return parser.close()


class _Text:
    """Target of lxml's parser that puts the text together."""

    def __init__(self) -> None:
        self._pieces: list[list[str | tuple[str, str]]] = [[]]  # one list more in each raised or lowered text
        self._hidden = 0

    def start(self, tag: str, _attributes: object) -> None:
        if tag in HIDDEN:
            self._hidden += 1
        elif tag in MARKS:
            self._pieces.append([])
        elif tag in BLOCKS:
            self._pieces[-1].append(" ")

    def end(self, tag: str) -> None:
        if tag in HIDDEN:
            self._hidden -= 1
        elif tag in MARKS:
            inner = _joined(self._pieces.pop())
            self._pieces[-1].append((MARKS[tag], inner))
        elif tag in BLOCKS:
            self._pieces[-1].append(" ")

    def data(self, text: str) -> None:
        if not self._hidden:
            self._pieces[-1].append(text)

    def close(self) -> str:
        return _joined(self._pieces[0])


def _joined(pieces: list[str | tuple[str, str]]) -> str:
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)  # type: ignore[arg-type]
    pieces = [piece for piece in pieces if piece not in ("", ("^", ""), ("_", ""))]
    done: list[str] = []
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=True):
        if isinstance(piece, tuple):
            after = following[1] if isinstance(following, tuple) else following
            piece = _marked(*piece, done[-1][-1] if done else "", after[:1])
        done.append(piece)
    return "".join(done)


def _marked(mark: str, text: str, before: str, after: str) -> str:
    """Return raised or lowered text, with its mark if it would otherwise run into the word beside it."""
    touches = (before and not before.isspace() and before not in "([{", after.isalnum())
    if text[0].isspace() or text[-1].isspace() or not any(touches) or not any(map(str.isalnum, text)):
        return text
    if text[0] in "([{" and text[-1] in ")]}":
        return text
    if mark == "^" and not after.isalnum() and text.lower() in (ORDINALS if before.isdigit() else SIGNS):
        return text
    runs_on: Callable[[str], bool] = str.isdigit if text[-1].isdigit() else str.isalpha
    bare = PLAIN.fullmatch(text) and not runs_on(after)
    return f"{mark}{text}" if bare else f"{mark}({text})"
