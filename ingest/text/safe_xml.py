"""XML documents of strangers.

The rule one would get wrong: XML may declare entities that unfold to gigabytes or name files; a document that declares any is none.
https://docs.python.org/3/library/xml.html#xml-vulnerabilities
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat

from ingest.errors import Reject


def parse_xml(body: bytes) -> Element:
    """The root. Raises Reject (xml)."""
    try:
        looking = expat.ParserCreate()
        looking.EntityDeclHandler = _refuse
        looking.Parse(body, True)
        return ElementTree.fromstring(body)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: an encoding nobody knows
        raise Reject(str(error), reason="xml") from error


def as_evidence(element: Element) -> bytes:
    """The element as it may be kept; nothing where it is nested beyond what can be written."""
    try:
        return ElementTree.tostring(element)
    except RecursionError:
        return b""


def _refuse(name: str, *_: object) -> None:
    raise Reject(f"the document declares the entity '{name}'; a feed has no need of any", reason="xml")
