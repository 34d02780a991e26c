"""XML of foreign sources: declarations, limits of size and depth, and encodings."""

from __future__ import annotations

from xml.etree.ElementTree import tostring

import pytest

from ingest.errors import Reject
from ingest.text.safe_xml import BYTES, DEPTH, ELEMENTS, parse_xml

LONG = b"<!--" + b"x" * 2000 + b"-->"
OWN = "declares its own types or entities"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<feed>", "no element found"),
        (b"", "no element found"),
        (b"<feed></rss>", "mismatched tag"),
        (b"<feed>&lol;</feed>", "undefined entity"),
        (LONG + b"<!DOCTYPE feed [<!ENTITY lol 'lol'>]><feed>&lol;</feed>", OWN),
        (b"<!DOCTYPE feed [<!ENTITY lol SYSTEM 'file:///etc/passwd'>]><feed>&lol;</feed>", OWN),
        (b"<!DOCTYPE feed [<!ENTITY % lol SYSTEM 'http://127.0.0.1/a.dtd'> %lol;]><feed/>", OWN),
        (b"<!DOCTYPE feed [<!ATTLIST a b CDATA '" + b"x" * 2000 + b"'>]><feed><a/><a/></feed>", OWN),
        (b"<?xml version='1.0' encoding='big5'?><feed/>", "encoding"),
        (b"<?xml version='1.0' encoding='klingon'?><feed/>", "encoding"),
    ],
)
def test_a_malformed_or_unsafe_document_is_rejected(body: bytes, message: str) -> None:
    with pytest.raises(Reject, match=message) as refused:
        parse_xml(body)
    assert refused.value.reason == "xml"


def test_a_document_may_name_its_type() -> None:
    """As RSS 0.91 does: https://www.rssboard.org/rss-0-9-1-netscape. The file at the address is not read."""
    name = b'<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" "http://127.0.0.1:1/rss-0.91.dtd">'
    assert tostring(parse_xml(name + b"<rss><channel/></rss>")) == b"<rss><channel /></rss>"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<a>" + b"x" * BYTES + b"</a>", f"{BYTES} is the limit"),
        (b"<a>" + b"<b/>" * ELEMENTS + b"</a>", f"more than {ELEMENTS} elements"),
    ],
)
def test_a_document_that_is_too_large_is_rejected(body: bytes, message: str) -> None:
    with pytest.raises(Reject, match=message) as refused:
        parse_xml(body)
    assert refused.value.reason == "size"


def test_elements_nested_too_deeply_become_text() -> None:
    levels = DEPTH - 1  # below the root
    inner = b"x<c>y<d/></c>z"
    root = parse_xml(b"<a>" + b"<b>" * levels + inner + b"</b>" * levels + b"</a>")
    assert tostring(root) == b"<a>" + b"<b>" * levels + b"xyz" + b"</b>" * levels + b"</a>"


def test_the_tree_of_a_deep_document_can_be_serialised() -> None:
    root = parse_xml(b"<a>" + b"<b>" * 20_000 + b"x" + b"</b>" * 20_000 + b"</a>")
    assert tostring(root).count(b"<b>") == DEPTH - 1
