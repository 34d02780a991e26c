"""Converts the HTML of providers to plain text, and detects whether a text is English.

A tag begins with a letter, so `<3` and `a < b` are text. https://html.spec.whatwg.org/multipage/syntax.html#elements-2
"""

from __future__ import annotations

import html
import re

# what no reader sees: comments, scripts, styles; linear in what is not closed
HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_BREAK = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|th|h[1-6]|blockquote|pre)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"""</?[a-z](?:[^<>"']|"[^"]*"|'[^']*')*>|</?[a-z][^<>]*>""", re.IGNORECASE)  # a quoted attribute may hold a >
_LINK = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)


def plain_text(source: str) -> str:
    """The visible text of a piece of HTML, in one line. In plain text only white space changes."""
    source = _TAG.sub("", _BREAK.sub(" ", HIDDEN.sub(" ", source)))
    return " ".join(html.unescape(source).replace("\0", "").split())  # PostgreSQL's text type has no NUL


def without_links(text: str) -> str:
    """The text without URLs, whose words carry no sentiment."""
    return _LINK.sub(" ", text)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# frequent words of English, and of other languages in Latin letters; the second list omits words that English has too ("pour")
_ENGLISH = _words(
    "about all and are because been but can could did does don't down for from get has have how if it it's its just like my not now"
    " of out over should than that the their them then there these they this to up very what when which who why will with would you"
    " your is was be on at as we do"
)
_OTHERS = _words(
    "der das und ist nicht ein eine einen von mit auf sich auch bei nach zu den dem ich wird"
    " le des et une dans que qui pas sur avec au aux ce cette sont il elle je"
    " los las una es por para del como más se su lo sus esta hoy y uma um não em ao da na"
    " di che della sono è anche gli nel alla più ha questo oggi het een dat niet voor naar ook zijn wordt"
    " och att som är det av og er til af har ikke w się nie jest że z ve bir bu için yang ini untuk dari tidak akan"
)


def is_english(text: str) -> bool:
    """Whether a text looks English.

    At least 90 % of its letters are ASCII, and it has no frequent word of another language, or more frequent words of English.
    """
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", without_links(text).lower().replace("\u2019", "'"))
    letters = "".join(words)
    if sum(map(str.isascii, letters)) < 0.9 * len(letters):
        return False
    others = len(_OTHERS.intersection(words))
    return others == 0 or len(_ENGLISH.intersection(words)) > others
