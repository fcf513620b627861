"""html_text: of a title everything that is text stays; of a body everything but the markup of HTML."""

import html
import re
import time

import pytest
from curate_worker import Worker
from hypothesis import given, settings
from hypothesis import strategies as st

quick = settings(derandomize=True, deadline=None, max_examples=300)


@pytest.fixture(scope="module")
def plain():
    worker = Worker()
    yield worker
    worker.close()


KEPT = [
    "Is a List<String> of heirs a valid will?", "What does <script> mean in clause 4?",
    "Does <br> in a contract count?",
    "Served at <address redacted>: valid service?", "If damages<rent and fee>cap, who pays?", "a<b and c>d",
    "May I sue <jo@example.org> for spam?", "<script>alert(1)</script>", "What do <i> and </i> mean?", "Is <b> bold?",
    "<!-- void --> clause", "R&D, AT&T: 1 < 2 > 0", "Is </p> the end?", "<title> of <html>", "x <b/> y", "<", "<>",
    "<a", "",
]  # fmt: skip
TITLES = {
    "&amp;lt;": "&lt;", "&lt;script&gt;": "<script>", "&lt;b&gt;x&lt;/b&gt;": "<b>x</b>",
    "AT&amp;T &quot;v.&quot;": 'AT&T "v."',
    "Is a fine of 10<sup>6</sup> euros lawful?": "Is a fine of 10^6 euros lawful?", "<b>x</b> <em>y</em>": "x y",
    "<code><script></code> in a title": "<script> in a title", "<code>&lt;br&gt;</code>": "<br>",
    "<b><i>x</b>": "<i>x", "<p>All of it</p>": "All of it", "<p>One</p><p>two</p>": "<p>One</p><p>two</p>",
    '<a href="x">li</a>nk': "link", "<STRONG>x</STRONG>": "x", "H<sub>2</sub>O": "H_2O",
}  # fmt: skip
BODIES = {
    "&amp;lt;p&amp;gt;": "&lt;p&gt;", "<p>&amp;lt;p&amp;gt;</p>": "&lt;p&gt;",
    "<code>&lt;script&gt;</code>": "<script>",
    "damages<rent and fee>cap": "damages<rent and fee>cap", "if a<b and c>d": "if a<b and c>d",
    "<p>a List<String> of <jo@example.org></p>": "a List<String> of <jo@example.org>",
    "<p>at <https://example.org/a?b=c>, yes</p>": "at <https://example.org/a?b=c>, yes",
    "<p>a < b <= c</p>": "a < b <= c",
    "<p>§ 2<sup>1</sup>, 10<sup>6</sup>, m<sup>2</sup>.</p>": "§ 2^1, 10^6, m^2.",
    "H<sub>2</sub>O x<sub>i</sub>y": "H_2O x_(i)y",
    "x<sup>n+1</sup> 10<sup>-6</sup> 10<sup>6</sup>5": "x^(n+1) 10^-6 10^(6)5", "x<sub>i<sup>2</sup></sub>": "x_(i^2)",
    "the 1<sup>st</sup> Acme<sup>TM</sup> A<sup>®</sup>": "the 1st AcmeTM A®",
    "said.<sup>1</sup> so<sup>[2]</sup>": "said.^1 so[2]",
    "<sub>Not legal advice.</sub>": "Not legal advice.", "<sup>1</sup> See": "1 See", "<sup>14</sup>C": "^14C",
    "<p>x <script>if (a<b) f()</script>y <style>p {}</style><!-- a --> z</p>": "x y z",
    "<p>a <script> tag, never ended</p>": "a <script> tag, never ended", "<p>a <!-- b</p>": "a <!-- b",
    "<p>Word's <o:p></o:p>own</p>": "Word's own", "<td nowrap>x</td><img alt='<x>' src=y>z": "x z",
    "<p>a <b and c> d</p>": "a <b and c> d",
    "<p>the <section> of <title> by <link> <data></p>": "the <section> of <title> by <link> <data>",
    "<section>a</section>b<link rel=x>c<summary>d</summary>": "a bc d", "<P>A<BR/>B</P>": "A B", "a\0b<p>c": "ab c",
    "": "", " ": "",
    "a <b = c and d": "a <b = c and d", "<p>a<b = c> d <i=1": "a<b = c> d <i=1",
    "<div>" * 400 + "deep" + "</div>" * 400: "deep",
}  # fmt: skip


def test_titles(plain):
    assert {title: plain.title(title) for title in KEPT} == {title: title for title in KEPT}
    assert {title: plain.title(title) for title in TITLES} == TITLES


def test_bodies(plain):
    assert {body: plain.body(body) for body in BODIES} == BODIES


words = st.lists(st.text("abyz019.,;:§é房()'\"-", min_size=1, max_size=6), min_size=1, max_size=4).map(" ".join)
names = st.sampled_from(
    ["script", "br", "String", "address redacted", "jo@example.org", "p", "b", "sup", "html", "x y"]
)
pieces = st.one_of(
    words, names.map("<{}>".format), st.sampled_from(["<", ">", " ", " < ", "<!-- x -->", "<div a", "&"])
)


@quick
@given(st.lists(pieces, max_size=8).map("".join))
def test_a_title_without_pairs_is_kept_as_written(plain, title):
    """No closing tag, no entity: nothing in it is markup."""
    assert plain.title(title) == " ".join(html.unescape(title).split())


@quick
@given(words, st.sampled_from(["b", "em", "code", "strong", "i"]), words, words)
def test_a_pair_of_formatting_goes_and_its_twin_stays(plain, before, tag, inside, after):
    kept = f"{before} {inside} {after}"
    assert plain.title(f"{before} <{tag}>{inside}</{tag}> {after}") == kept
    literal = f"{before} <{tag}>{inside} {after}"
    assert plain.title(literal) == literal


@quick
@given(st.text(max_size=30).filter(lambda text: "\0" not in text and "\r" not in text))
def test_what_is_escaped_once_reads_as_it_was(plain, text):
    """Whatever it says of entities and tags: `&lt;` too. Control characters aside, which no entity can name."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", "", text)
    escaped = html.escape(text, quote=False)
    expected = " ".join(text.split())
    assert plain.title(escaped) == expected
    assert plain.body(escaped) == expected
    assert plain.body(f"<p>{escaped}</p>") == expected


@quick
@given(
    st.integers(0, 10**9), st.sampled_from(["sup", "sub"]), st.integers(0, 10**6), st.sampled_from(["", ".", " x", "3"])
)
def test_raised_and_lowered_numbers_do_not_run_together(plain, base, tag, raised, after):
    text = f"{base}<{tag}>{raised}</{tag}>{after}"
    found = plain.body(f"<p>{text}</p>")
    assert found == plain.title(text)
    mark = {"sup": "^", "sub": "_"}[tag]
    assert re.fullmatch(rf"{base}{re.escape(mark)}\(?{raised}\)?{re.escape(after)}", found)


@pytest.mark.parametrize(
    "many", ["<", "<b>", "<b></i>", "<data>", "<!--", "<sup>x", "<p =", "<script>", "</p ", "&amp"]
)
def test_a_long_text_takes_no_long_time(plain, many):
    began = time.monotonic()
    plain.title(many * 20_000)
    plain.body(f"<p>{many * 20_000}")
    assert time.monotonic() - began < 10
