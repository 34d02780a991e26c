"""XML that is not well-formed: what is corrected, what is read part by part, and what is refused."""

from __future__ import annotations

import time
from xml.etree.ElementTree import tostring

import pytest

from ingest.errors import Reject
from ingest.text.xml_repair import EVIDENCE, MAX_MARKS, MAX_PARTS, read_xml

PARTS = ("item", "entry")


def read(body: str | bytes) -> str:
    document = read_xml(body if isinstance(body, bytes) else body.encode(), PARTS)
    return tostring(document.root, "unicode")


def test_a_well_formed_document_is_not_changed() -> None:
    document = read_xml(b"<rss>&amp;<![CDATA[&nbsp;]]></rss>", PARTS)
    assert (tostring(document.root), document.faults) == (b"<rss>&amp;&amp;nbsp;</rss>", ())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("\ufeff \n<?xml version='1.0'?><rss>a</rss>", "a"),
        ("<rss>a\0b\x1fc\ufffe</rss>", "abc"),
        ("<rss>&#8;a&#x0;&#xD800;&#1114112;b</rss>", "ab"),
        ("<rss>&hellip;&lol;&AMP;&#x41;&#66;&lt;</rss>", "\u2026&amp;lol;&amp;AB&lt;"),
        ("<rss>Q&A, AT&T & a < b</rss>", "Q&amp;A, AT&amp;T &amp; a &lt; b"),
        ("<rss>&nbsp;<![CDATA[<b>&nbsp;]]></rss>", "\u00a0&lt;b&gt;&amp;nbsp;"),
        ("<rss><!-- a -- b -->c</rss>", "c"),
        ("<rss>a</rss>\n<p>advertisement", "a"),
        ("<?xml version='1.0' encoding='klingon'?><rss>a</rss>", "a"),
        ("<?xml version='1.0' encoding='big5'?><rss>a</rss>", "a"),
        ("<?xml version='1.0' encoding='big5'?><rss>\u6bd4</rss>".encode("big5"), "\u6bd4"),
        ("<?xml version='1.0' encoding='utf-16'?><rss>\u6bd4</rss>".encode(), "\u6bd4"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><rss>\x93a\x94 &nbsp;</rss>", "\u201ca\u201d \u00a0"),
        (b"<rss>\xc3\xa9 \xe9 \x80</rss>", "\u00e9 \u00e9 \u20ac"),
        ("<rss>&nbsp;</rss>".encode("utf-16"), "\u00a0"),
    ],
)
def test_faults_of_the_text_are_corrected(body: str | bytes, text: str) -> None:
    assert read(body) == f"<rss>{text}</rss>"


def test_a_prefix_without_a_namespace_gets_one() -> None:
    root = read_xml(b"<rss><media:a/><x:b/></rss>", PARTS).root
    assert [child.tag for child in root] == ["{http://search.yahoo.com/mrss/}a", "{urn:undeclared:x}b"]


def test_parts_that_are_well_formed_are_read() -> None:
    body = b"<rss a='1'><channel><title>t</title><item>1</item><item><b>2</item><item>3<item>4</item><item>5</chan"
    document = read_xml(body, PARTS)
    assert tostring(document.root) == b'<rss a="1"><channel /><item>1</item><item>4</item></rss>'
    assert [fault.evidence for fault in document.faults[1:]] == [b"<item><b>2</item>", b"<item>3", b"<item>5</chan"]
    assert "mismatched tag" in document.faults[0].message


def test_the_number_of_parts_is_bounded() -> None:
    document = read_xml(b"<rss>" + b"<item/><item>1</item>" * (MAX_PARTS + 5), PARTS)
    assert len(document.root) <= 1 + MAX_PARTS
    assert document.faults[-1].message == f"parts after the first {MAX_PARTS} are not read"


def test_the_evidence_is_what_surrounds_the_fault() -> None:
    body = b"<rss>\n" + b"a" * 5000 + b"\n<x>" + b"b" * 500 + b"&nbsp;" + b"c" * 5000 + b"</x></rss>"
    (fault,) = read_xml(body, PARTS).faults
    assert fault.evidence == b"b" * EVIDENCE + b"&nbsp;" + b"c" * (EVIDENCE - 6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no element found"),
        (b"{}", "not well-formed"),
        (b"<rss><b></rss>", "mismatched tag"),  # without a part
        (b"<item", "unclosed token"),
        (b"\n<?xml version='1.0'?><!DOCTYPE a [<!ENTITY lol 'lol'>]><a>&lol;</a>", "declares its own types or entities"),
        (b"<!DOCTYPE a [<!ENTITY lol SYSTEM 'file:///etc/passwd'>]><a>&lol;</a>", "declares its own types or entities"),
    ],
)
def test_what_has_no_root_element_or_declares_entities_is_rejected(body: bytes, message: str) -> None:
    with pytest.raises(Reject, match=message) as refused:
        read_xml(body, PARTS)
    assert refused.value.reason == "xml"


HEAD, TAIL = b"<rss><channel>", b"</channel></rss>"


@pytest.mark.parametrize(
    "piece", [b"&", b"&lt;", b"<!---->", b"\xff", b"<", b"<![CDATA[", b"<item>", b"<a:b ", b"<a \"'", b"<item "]
)
def test_a_megabyte_of_anything_is_read_in_linear_time(piece: bytes) -> None:
    """The bound is far above what is measured (at most 0.4 s), and far below what a quadratic reader would take."""
    body = HEAD + piece * (1_000_000 // len(piece)) + TAIL
    start = time.process_time()
    try:
        read_xml(body, PARTS)
    except Reject as error:
        assert error.reason in ("xml", "size")
    assert time.process_time() - start < 2.0


def test_a_document_with_too_many_references_is_not_repaired() -> None:
    with pytest.raises(Reject, match="not well-formed"):
        read_xml(b"<rss>" + b"& " * (MAX_MARKS + 1) + b"</rss>", PARTS)
