"""Parses HTML from outside into a tree, in linear time and within limits of its size, depth and number of elements.

The parser of the standard library tries an unclosed tag or comment again at each `<` that follows
(https://github.com/python/cpython/issues/135462), so what is not a whole tag is made text first.
"""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, TreeBuilder

from ingest.errors import Reject
from ingest.text.plain_text import HIDDEN

CHARACTERS = 1 << 20
ELEMENTS = 20_000
TAGS = 100_000  # start tags, end tags and other `<`
DEPTH = 100  # levels; serialising an element recurses once per level
TAG = 2000  # characters of one tag

_NO_TAG = re.compile(rf"<(?!/?[A-Za-z][^<>]{{0,{TAG}}}>)")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def parse_html(source: str) -> Element:
    """The elements of a page or of a piece of one, within an element <html>. End tags without a start are ignored.

    Comments, scripts and styles are removed. An element below `DEPTH` is dropped, and its text is added to its ancestor at `DEPTH`.
    Raises Reject (size) for more than `CHARACTERS`, `TAGS` or `ELEMENTS`.
    """
    if len(source) > CHARACTERS:
        raise Reject(f"a page of {len(source)} characters; {CHARACTERS} is the limit", reason="size")
    if (tags := source.count("<")) > TAGS:
        raise Reject(f"a page of {tags} tags; {TAGS} is the limit", reason="size")
    parser = _Parser()
    parser.feed(_NO_TAG.sub("&lt;", HIDDEN.sub(" ", source)))
    return parser.tree()


def classes_of(element: Element) -> list[str]:
    """The classes of an element."""
    return (element.get("class") or "").split()


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._builder = TreeBuilder()
        self._builder.start("html", {})
        self._open: list[str] = []  # the names of the open elements
        self._names: Counter[str] = Counter()
        self._left = ELEMENTS

    def tree(self) -> Element:
        """The root element, when the page is read."""
        self.close()
        while self._open:
            self._end()
        self._builder.end("html")
        return self._builder.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._left -= 1
        if self._left < 0:
            raise Reject(f"a page of more than {ELEMENTS} elements", reason="size")
        self._open.append(tag)
        self._names[tag] += 1
        if len(self._open) < DEPTH:
            self._builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in _VOID:
            self._end()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # as browsers do: the slash of <div/> has no meaning

    def handle_endtag(self, tag: str) -> None:
        if self._names[tag]:  # else it has no start
            while self._end() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self._builder.data(data)

    def _end(self) -> str:
        """Close the innermost open element. Returns its name."""
        if len(self._open) < DEPTH:
            self._builder.end(self._open[-1])
        tag = self._open.pop()
        self._names[tag] -= 1
        return tag
