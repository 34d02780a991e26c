"""XML of strangers: what it may declare, how deep it may be, and in which encodings."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

import pytest

from ingest.errors import Reject
from ingest.text.safe_xml import as_evidence, parse_xml

LONG = b"<!--" + b"x" * 2000 + b"-->"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<feed>", "no element found"),
        (b"", "no element found"),
        (LONG + b"<!DOCTYPE feed [<!ENTITY lol 'lol'>]><feed>&lol;</feed>", "declares the entity 'lol'"),
        (b"<?xml version='1.0' encoding='big5'?><feed/>", "encoding"),
        (b"<?xml version='1.0' encoding='klingon'?><feed/>", "encoding"),
    ],
)
def test_what_is_no_document_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(Reject, match=said) as refused:
        parse_xml(body)
    assert refused.value.reason == "xml"


def test_a_document_may_be_nested_deeper_than_it_can_be_kept() -> None:
    assert as_evidence(parse_xml(b"<a><b>1</b></a>")) == b"<a><b>1</b></a>"
    root = inner = Element("a")
    for _ in range(5000):
        inner = SubElement(inner, "a")
    assert as_evidence(root) == b""
