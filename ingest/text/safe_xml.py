"""Parses untrusted XML.

XML may declare entities that expand to gigabytes or read files, so a document that declares an entity is rejected.
https://docs.python.org/3/library/xml.html#xml-vulnerabilities
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat

from ingest.errors import Reject


def parse_xml(body: bytes) -> Element:
    """The root element. Raises Reject (xml)."""
    try:
        looking = expat.ParserCreate()
        looking.EntityDeclHandler = _refuse
        looking.Parse(body, True)
        return ElementTree.fromstring(body)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: an unknown encoding
        raise Reject(str(error), reason="xml") from error


def as_evidence(element: Element) -> bytes:
    """The element as bytes; empty if it is nested too deeply to be serialised."""
    try:
        return ElementTree.tostring(element)
    except RecursionError:
        return b""


def _refuse(name: str, *_: object) -> None:
    raise Reject(f"the document declares the entity '{name}'; a feed needs no entities", reason="xml")
