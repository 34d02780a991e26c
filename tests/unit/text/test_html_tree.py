"""HTML from outside: nesting, what is not closed, limits, and linear time."""

from __future__ import annotations

import time
from contextlib import suppress
from xml.etree.ElementTree import tostring

import pytest

from ingest.errors import Reject
from ingest.text.html_tree import CHARACTERS, DEPTH, ELEMENTS, TAGS, classes_of, parse_html


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("a<b x=1 checked>c</b>d", 'a<b x="1" checked="">c</b>d'),
        ("<DIV Class='a  b'>x</DIV>", '<div class="a  b">x</div>'),
        ("a<br>b<img src=x/>c<div/>d", 'a<br />b<img src="x/" />c<div>d</div>'),
        ("<p>a</i>b</p></div>c", "<p>ab</p>c"),
        ("<div><b>a<i>b</div>c", "<div><b>a<i>b</i></b></div>c"),
        ("a<!-- <b> -->c<script>x<y></script><style>z", "a c  "),
        ("1 < 2 <3 <b", "1 &lt; 2 &lt;3 &lt;b"),
        ("&amp;&lt;&eacute;&#65;&nope;", "&amp;&lt;\u00e9A&amp;nope;"),
        ('<a title="x > y">z</a>', '<a title="x &gt; y">z</a>'),
    ],
)
def test_the_tree_of_a_page(source: str, tree: str) -> None:
    assert tostring(parse_html(source), "unicode") == f"<html>{tree}</html>"


def test_elements_nested_too_deeply_become_text() -> None:
    root = parse_html("<b>" * 9000 + "x" + "</b>" * 9000 + "<i>y</i>")
    text = tostring(root, "unicode")
    assert (text.count("<b>"), "x</b>" in text, text.endswith("<i>y</i></html>")) == (DEPTH - 1, True, True)


def test_classes_are_words() -> None:
    (element,) = parse_html("<p class=' a\nb '>")
    assert (classes_of(element), classes_of(parse_html(""))) == (["a", "b"], [])


@pytest.mark.parametrize("source", ["x" * (CHARACTERS + 1), "<b></b>" * (TAGS // 2 + 1), "<b>" * (ELEMENTS + 1)])
def test_a_page_that_is_too_large_is_rejected(source: str) -> None:
    with pytest.raises(Reject) as refused:
        parse_html(source)
    assert refused.value.reason == "size"


PIECES = [
    "<",
    "<div>",
    '<div class="',
    "<!--",
    "<![CDATA[",
    "<?",
    "<a \"'",
    "</b>",
    "<b></i>",
    "<script>",
    "&",
    '<a x=">',
    "<a x='>\"",
]
PIECES += [f"<a {filling}>" for filling in ("a " * 15, "\"'" * 990, "a=" * 990, 'a="' * 660, " " * 1990, "/" * 1990)]
PIECES += ["<b>" + "x" * 50, "&#99999999999", "</a " + " " * 1900 + "x>"]


@pytest.mark.parametrize("piece", PIECES)
def test_a_megabyte_of_anything_is_read_in_linear_time(piece: str) -> None:
    """The bound is far above what is measured (at most 0.3 s), and far below what a quadratic reader would take."""
    start = time.process_time()
    with suppress(Reject):
        parse_html(piece * (CHARACTERS // len(piece)))
    assert time.process_time() - start < 2
