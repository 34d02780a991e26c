"""Reads XML that is not well-formed, as publishers send it: what can be read is read, and each fault is reported.

A document is parsed strictly first. If that fails, it is decoded again (an allow-list of encodings; a stray byte of Latin-1 within
UTF-8 becomes its character), and these faults are corrected in its text: white space before the XML declaration, control
characters, a bare `&` or `<`, entities of HTML, prefixes without a namespace. What follows the root element is ignored. If the
text is still not well-formed, each of its parts (an item of RSS, an entry of Atom) is parsed by itself, so that a part that is cut
or broken costs itself. Declarations are refused as in `safe_xml`; nothing that a document declares is ever expanded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from html.entities import html5
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from msgspec import Struct

from ingest.errors import Reject
from ingest.text.safe_xml import parse_xml

MAX_PARTS = 2000  # parts of one document that are parsed by themselves
MAX_MARKS = 200_000  # `&` and `<` of a document; correcting so many takes a quarter of a second
EVIDENCE = 80  # bytes before and after a fault that are kept: few enough to be the same while the rest of a feed changes
HEAD = 20_000  # characters within which the root element begins

_CODECS = {  # declared encodings, and the superset with which browsers read them: https://encoding.spec.whatwg.org/#names-and-labels
    **dict.fromkeys(("iso-8859-1", "latin1", "us-ascii", "ascii", "windows-1252"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    **{f"iso-8859-{part}": f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
    **{f"windows-{page}": f"cp{page}" for page in (1250, 1251, 1253, 1254, 1255, 1256, 1257, 1258)},
    "big5": "big5hkscs",
    "euc-jp": "euc_jp",
    "euc-kr": "cp949",
    "koi8-r": "koi8-r",
    "koi8-u": "koi8-u",
    "shift_jis": "cp932",
}
_NAMESPACES = {
    "atom": "http://www.w3.org/2005/Atom",
    "content": "http://purl.org/rss/1.0/modules/content/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "media": "http://search.yahoo.com/mrss/",
}
_DECLARED = re.compile(rb"""<\?xml[^<>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_DECLARATION = re.compile(r"<\?xml\b[^<>]*\?>")
_STRAY = {0xDC00 + byte: bytes([byte]).decode("cp1252", "replace") for byte in range(0x80, 0x100)}  # as surrogateescape has them
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # https://www.w3.org/TR/xml/#charsets
_LITERAL = re.compile(r"(<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z))", re.DOTALL)
_REFERENCE = r"#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31}"
_BARE = re.compile(rf"&(?!(?:{_REFERENCE});)")
_REFERENCES = re.compile(rf"&({_REFERENCE});")
_LESS = re.compile(r"<(?![A-Za-z_/!?])")
_PREDEFINED = {"amp", "lt", "gt", "quot", "apos"}
_PREFIX = re.compile(r"""<([A-Za-z_][\w.-]*):[A-Za-z_]|\s([A-Za-z_][\w.-]*):[\w.-]+\s*=\s*["']""")
_ROOT = re.compile(r"""<([A-Za-z_][\w.:-]*)((?:[^<>"']|"[^"]*"|'[^']*')*)>""")


class Fault(Struct, frozen=True):
    """What was corrected, or could not be read, and the bytes around it."""

    evidence: bytes
    message: str


class Document(Struct, frozen=True):
    """The root element, and the faults of the document; none if it is well-formed."""

    root: Element
    faults: tuple[Fault, ...] = ()


def read_xml(body: bytes, parts: Collection[str]) -> Document:
    """The document. `parts` are the names of the elements that are parsed by themselves if all else fails.

    If that happens, the parts are children of the root element, and an empty <channel> stands for everything else. Raises Reject
    as `parse_xml` does; a document without a root element or a readable part is rejected with the error of the strict parser.
    """
    try:
        return Document(parse_xml(body))
    except Reject as error:
        if (
            error.reason != "xml"
            or isinstance(error.__cause__, DefusedXmlException)
            or body.count(b"&") + body.count(b"<") > MAX_MARKS
        ):
            raise
        strict = error
    text = _repaired(_decoded(body))
    fault = Fault(_around(body, strict.__cause__), f"the document is not well-formed and was repaired: {strict}")
    try:
        return Document(parse_xml(text, ignore_rest=True), (fault,))
    except Reject as error:
        if error.reason != "xml" or isinstance(error.__cause__, DefusedXmlException):
            raise
    root = _ROOT.search(text, 0, HEAD)
    elements, faults = _read_parts(text, root, parts) if root else ([], [])
    if root is None or not elements:
        raise strict
    tree = parse_xml(f"{root[0]}<channel/></{root[1]}>")
    tree.extend(elements)
    return Document(tree, (fault, *faults))


def _decoded(body: bytes) -> str:
    """The text: UTF-8 where the bytes are that, else in the declared encoding, else UTF-8 with stray bytes of Windows-1252."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return body.decode("utf-16", "replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        declared = _DECLARED.search(body, 0, 1000)
    codec = _CODECS.get(declared[1].decode().lower()) if declared else None
    return body.decode(codec, "replace") if codec else body.decode("utf-8", "surrogateescape").translate(_STRAY)


def _repaired(text: str) -> str:
    text = _FORBIDDEN.sub("", _DECLARATION.sub("", text.lstrip("\ufeff\0 \t\r\n"), count=1))
    pieces = _LITERAL.split(text)
    pieces[::2] = [_LESS.sub("&lt;", _REFERENCES.sub(_character, _BARE.sub("&amp;", piece))) for piece in pieces[::2]]
    pieces[1::2] = ["" if piece.startswith("<!--") else piece for piece in pieces[1::2]]
    return _with_namespaces("".join(pieces))


def _character(reference: re.Match[str]) -> str:
    """The reference as XML knows it: the characters of an entity of HTML by number, nothing for a character that is forbidden."""
    name = reference[1]
    if name in _PREDEFINED:
        return reference[0]
    if name.startswith("#"):
        number = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
        return f"&#{number};" if number <= 0x10FFFF and not _FORBIDDEN.match(chr(number)) else ""
    characters = html5.get(f"{name};")
    return f"&amp;{name};" if characters is None else "".join(f"&#{ord(character)};" for character in characters)


def _with_namespaces(text: str) -> str:
    """The text with a namespace for every prefix, declared by the root element."""
    if (root := _ROOT.search(text, 0, HEAD)) is None:
        return text
    used = {element or attribute for element, attribute in _PREFIX.findall(text)}
    missing = sorted(prefix for prefix in used - {"xml", "xmlns"} if f"xmlns:{prefix}" not in root[2])
    declared = "".join(f' xmlns:{prefix}="{_NAMESPACES.get(prefix, f"urn:undeclared:{prefix}")}"' for prefix in missing)
    return text[: root.end(1)] + declared + text[root.end(1) :]


def _read_parts(text: str, root: re.Match[str], names: Collection[str]) -> tuple[list[Element], list[Fault]]:
    """The parts that are well-formed, at most `MAX_PARTS`, and the faults of the others."""
    elements: list[Element] = []
    faults: list[Fault] = []
    for number, (part, is_closed) in enumerate(_parts(text, root.end(), names)):
        if number == MAX_PARTS:
            faults.append(Fault(part[:EVIDENCE].encode(), f"parts after the first {MAX_PARTS} are not read"))
            break
        try:
            if not is_closed:
                raise Reject("it is not closed", reason="xml")
            elements.extend(parse_xml(f"{root[0]}{part}</{root[1]}>"))
        except Reject as error:
            faults.append(Fault(part.encode(), f"a part of the document cannot be read: {error}"))
    return elements, faults


def _parts(text: str, start: int, names: Collection[str]) -> Iterator[tuple[str, bool]]:
    """Each part in the text, and whether its end was found before the next part begins."""
    begun: int | None = None
    for tag in re.compile(rf"<(/?)(?:{'|'.join(names)})\b[^<>]*>").finditer(text, start):
        if begun is not None:
            yield text[begun : tag.end() if tag[1] else tag.start()], bool(tag[1])
        begun = None if tag[1] else tag.start()
    if begun is not None:
        yield text[begun:], False


def _around(body: bytes, error: BaseException | None) -> bytes:
    """The bytes around the position of a parser's error."""
    if not isinstance(error, ParseError):
        return body[:EVIDENCE]
    line, column = error.position
    start = 0
    for _ in range(line - 1):
        start = body.find(b"\n", start) + 1
    at = start + column
    return body[max(0, at - EVIDENCE) : at + EVIDENCE]
