"""What people write, made fit for reading: plain text of the HTML that providers send, and whether it is English.

https://html.spec.whatwg.org/multipage/syntax.html#elements-2. A tag begins with a letter, so that `<3` and `a < b` are text.
"""

from __future__ import annotations

import html
import re

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_BREAK = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|th|h[1-6]|blockquote|pre)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
_LINK = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)


def plain_text(source: str) -> str:
    """The text of a piece of HTML in one line; plain text stays what it is."""
    source = _TAG.sub("", _BREAK.sub(" ", _COMMENT.sub(" ", source)))
    return " ".join(html.unescape(source).split())


def without_links(text: str) -> str:
    """The same without addresses, whose words say nothing of the writer's mood."""
    return _LINK.sub(" ", text)
