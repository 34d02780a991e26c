"""Parses XML from outside within limits of its size, depth and number of elements.

https://docs.python.org/3/library/xml.html#xml-vulnerabilities. A document may name its type, as RSS 0.91 does, but must not contain
declarations: an entity can expand to gigabytes or to a file, and the default value of an attribute is copied to every element
(120 KB became 500 MB).
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from ingest.errors import Reject

BYTES = 4 << 20
ELEMENTS = 50_000  # parsed in a quarter of a second
DEPTH = 100  # levels; serialising an element recurses once per level


def parse_xml(document: bytes | str, *, ignore_rest: bool = False) -> Element:
    """The root element. An element below `DEPTH` is dropped, and its text is added to its ancestor at `DEPTH`.

    With `ignore_rest`, whatever follows the root element is ignored. Raises Reject: `size` for more than `BYTES` (of text:
    characters) or `ELEMENTS`, `xml` for a document that is not well-formed or has declarations.
    """
    if len(document) > BYTES:
        raise Reject(f"an XML document of {len(document)} bytes; {BYTES} is the limit", reason="size")
    tree = _Tree()
    parser = _Parser(target=tree)
    try:
        parser.feed(document)
        root: Element = parser.close()
    except DefusedXmlException as error:
        raise Reject(f"the document declares its own types or entities, and a feed needs none: {error}", reason="xml") from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: an encoding that Python or expat does not know
        if ignore_rest and tree.is_complete:
            return tree.close()
        raise Reject(str(error), reason="xml") from error
    return root


class _Parser(DefusedXMLParser):
    def __init__(self, target: _Tree) -> None:
        super().__init__(target=target, forbid_dtd=True)

    def defused_start_doctype_decl(self, name: str, sysid: str | None, pubid: str | None, has_internal_subset: bool) -> None:
        if has_internal_subset:
            super().defused_start_doctype_decl(name, sysid, pubid, has_internal_subset)


class _Tree:
    """Builds a tree from the events of the parser, within the limits of depth and number."""

    def __init__(self) -> None:
        builder = TreeBuilder()
        self._start, self._end = builder.start, builder.end
        self.data, self.close = builder.data, builder.close
        self.is_complete = False  # whether the root element is closed
        self._depth = 0
        self._left = ELEMENTS

    def start(self, tag: str, attributes: dict[str, str], /) -> None:
        self._depth += 1
        self._left -= 1
        if self._left < 0:
            raise Reject(f"an XML document of more than {ELEMENTS} elements", reason="size")
        if self._depth <= DEPTH:
            self._start(tag, attributes)

    def end(self, tag: str, /) -> None:
        if self._depth <= DEPTH:
            self._end(tag)
        self._depth -= 1
        self.is_complete = self._depth == 0
