"""Bodies of a megabyte that are slow or large for a careless parser: of any format, or in the format of a provider."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from tests.support.mutations import Node, parse

SIZE = 1 << 20


def _filled(unit: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
    return head + unit * ((SIZE - len(head) - len(tail)) // len(unit)) + tail


_RSS, _END = b'<rss version="2.0"><channel>', b"</channel></rss>"
_TITLE, _END_TITLE = _RSS + b"<item><title>", b"</title></item>" + _END
_PAGE = b'<div class="tgme_channel_info">'

HOSTILE: dict[str, bytes] = {
    "nested items": _filled(b"<item>", _RSS),
    "items without a date": _filled(b"<item><title>a</title><link>http://a/b</link></item>", _RSS, _END),
    "items that are not closed": _filled(b"<item><title>a</item>", _RSS, _END),
    "bare ampersands": _filled(b"&", _TITLE, _END_TITLE),
    "bare less-than signs": _filled(b"<", _TITLE, _END_TITLE),
    "open comments": _filled(b"<!--", _TITLE, _END_TITLE),
    "open messages": _filled(b'<div class="tgme_widget_message" data-post="a/1">', _PAGE),
    "open reactions": _filled(b'<span class="tgme_reaction">', _PAGE + b'<div data-post="a/1">'),
    "brackets": b"[" * SIZE,
    "one number": b"1" * SIZE,
    "empty objects": _filled(b"{},", b"[", b"{}]"),
    "a list named data": _filled(b"{},", b'{"data":[', b"{}]}"),
    "a list named result": _filled(b"{},", b'{"status":"1","message":"OK","result":[', b"{}]}"),
    "a list named results": _filled(b"{},", b'{"results":[', b"{}]}"),
    "a list named values": _filled(b"{},", b'{"status":"ok","values":[', b"{}]}"),
    "a list named items": _filled(b"{},", b'{"items":[', b"{}]}"),
    "articles of Binance": _filled(b"{},", b'{"data":{"catalogs":[{"articles":[', b'{}]}]},"code":"000000"}'),
    "days": _filled(b"01/01/2020,1,2,3,4\n", b"DATE,OPEN,HIGH,LOW,CLOSE\n"),
    "bad days": _filled(b"BAD,,,,\n", b"DATE,OPEN,HIGH,LOW,CLOSE\n"),
    "random bytes": random.Random(1).randbytes(SIZE),
}


def filled(body: bytes, pattern: re.Pattern[bytes] | None) -> Iterator[bytes]:
    """A recorded body with its rows repeated up to a megabyte: those of the outermost lists, and those of the innermost."""
    if pattern is not None:
        spans = [match.span() for match in pattern.finditer(body)]
        start, end = spans[0][0], spans[-1][1]
        yield _filled(b"".join(body[first:last] for first, last in spans), body[:start], body[end:])
        return
    nodes = parse(body)
    lists = [node for node in nodes if body[node.start] == ord("[") and node.children]
    outermost = [node for node in lists if not any(_is_in(node, other) for other in lists)]
    innermost = [node for node in lists if not any(_is_in(other, node) for other in lists)]
    for chosen in (outermost, innermost):
        times = max(1, SIZE // (len(body) + 1))
        parts, position = [], 0
        for node in chosen:
            elements = b",".join(body[nodes[child].start : nodes[child].end] for child in node.children)
            parts += [body[position : node.start], b"[", b",".join([elements] * times), b"]"]
            position = node.end
        if chosen:
            yield b"".join([*parts, body[position:]])


def _is_in(node: Node, other: Node) -> bool:
    return other.start < node.start and node.end <= other.end
