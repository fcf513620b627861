# ruff: noqa: RUF001
"""Texts on which tokenizers are known to differ: the fixed set by which two readings of a base are compared."""

from collections.abc import Iterable, Iterator

# A prompt in the tutorial's form; the texts' tokens are also decoded as its answer.
PROMPT = (
    "Generate a concise, engaging title for the following legal question on an internet forum. The title should be "
    "legally relevant, capture key aspects of the issue, and entice readers to learn more. \nQUESTION: My landlord "
    "keeps the $1,200.50 deposit; may he? \nTITLE:"
)
TEXTS = (
    "may my landlord keep the deposit",
    "",
    " ",
    "   ",
    "\n",
    "\t\tTabs\tand\t\ttabs ",
    " One blank before",
    "  Two blanks before, two  between, two behind  ",
    "   \n  \n\n Blank lines \r\n and \r returns\n",
    "No-break\u00a0spaces\u00a0\u00a0and a thin\u2009one, an ideographic\u3000one",
    "Zero\u200bwidth, soft\u00adhyphen, BOM \ufeff, joiner\u2060",
    "In 2023 $1,234,567.89 were owed, 007 and 1234567890123456789",
    "½ of ² and Ⅳ, ① ﬁnally",
    "don 't can't I'm we 've , . ! ? it 's n't",
    "UPPER lower Title cAmEl snake_case kebab-case",
    "Café naïve Ångström façade",
    "Cafe\u0301 nai\u0308ve A\u030angstro\u0308m fac\u0327ade",
    "Straße, Œuvre, İstanbul, ǅ, ﬀ",
    "房东可以扣留押金吗？我在三月搬出。",
    "家主は敷金を返しますか。カタカナ ﾊﾝｶｸ",
    "집주인이 보증금을 가질 수 있나요?",
    "Может ли хозяин оставить залог?",
    "هل يجوز للمالك الاحتفاظ بالعربون؟ \u200fRTL\u200e",
    "האם בעל הבית רשאי לשמור את הפיקדון?",
    "क्या मकान मालिक जमा राशि रख सकता है?",
    "👩\u200d⚖️ 👨\u200d👩\u200d👧\u200d👦 🇩🇪 👍🏽 ☎️ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "def f(x):\n    return {'a': x ** 2}  # code\n\n\tif True:\n",
    '<p class="a">HTML &amp; <br/>entities &lt;/s&gt;</p>',
    "https://law.example/q/42?id=7&x=%20#frag user@example.org",
    "§ 242 BGB, Art. 5(1)(a) — “quotes” ‘single’ … –",
    "\\n \\t \\\\ \x00 \x01 \x7f",
    "▁metaspace ▁▁ Ġbyte Ċ <0x0A> ## ##word",
    "a" * 300,
    "word " * 300,
    PROMPT,
    f" {PROMPT}",
    f"{PROMPT} ",
)


def texts_with(tokens: Iterable[str], bos: str | None) -> Iterator[str]:
    """Yield the fixed texts, one for each control token with it inside, and with `bos` three that begin with it."""
    yield from TEXTS
    for token in tokens:
        yield f"Before {token} behind, glued{token}here.{token}"
    if bos:
        yield from (f"{bos}Question", f"{bos} Question", f"{bos}{bos}{PROMPT}")
