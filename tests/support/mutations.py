"""Mutations of payloads. A mutation is chosen by three numbers, so that hypothesis can shrink it and a seed can repeat it.

A payload of rows is JSON, or text with rows that a pattern finds: lines of CSV, items of a feed, messages of a page. Each mutation
tells which row it touched: `rest` is the payload without that row, whose other rows must be stored as if it had not been there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

ODD = (  # JSON values
    *(b"null", b"true", b"-1", b"0", b"0.0", b"1.5", b"1e31", b"1e-400", b"1e400", b"-0", b"9223372036854775808", b"9" * 30),
    *(b"9" * 5000, b'"' + b"9" * 5000 + b'"', b'"NaN"', b"NaN", b'"Infinity"', b'"-1"', b'"0"', b'"1e31"', b'"1e5"', b'""', b'" "'),
    *(
        b'"a\\u0000b"',
        b'"\\ud800"',
        b'"\xff"',
        b'"\xd9\xa3"',
        b'"' + b"x" * 9000 + b'"',
        b"[]",
        b"{}",
        b"[[]]",
        b'["1"]',
        b'{"a":{}}',
    ),
    *(b"[" * 5000, b"[" * 900 + b"]" * 900, b"0", b"-62135596800000", b"253402300799000", b'"1970-01-01T00:00:00Z"'),
    *(b'"9999-12-31T23:59:59.999999Z"', b'"0001-01-01T00:00:00Z"', b'"' + b"<i>" * 2000 + b'"', b"999999999999999999"),
)
ODD_TEXT = (  # in CSV and markup
    *(b"", b"0", b"-1", b"0.0", b"NaN", b"inf", b"1e31", b"1e400", b"9" * 5000, b"x" * 9000, b"\0", b"\xff", b"\xd9\xa3", b'"'),
    *(b"&#0;", b"&#xD800;", b"&unknown;", b"1970-01-01", b"9999-12-31", b"0001-01-01", b"31/31/2026", b" ", b"\r", b"null"),
)
MARKUP = (b"<", b"<b>", b"</b>", b"]]>", b"<!--", b"<![CDATA[", b"<!DOCTYPE x [", b"<i>" * 3000, b'<a b="' * 1000, b"&" * 3000)
UNREADABLE = (b"[" * 5000, b"NaN", b'"\xff"')  # what makes the whole payload no JSON
BREAKING = (*MARKUP, b'"', b"\0", b"\xff")  # what may also cost a neighbour: it changes where a row ends
MANY = 1500  # rows that one mutation adds, at most
MOST_BYTES = 200_000

_TOKEN = re.compile(rb'[ \t\r\n]*([{}\[\],:]|"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null)')
_WORD = re.compile(rb"[^\s,<>\"=&;]+")


class Choice(NamedTuple):
    """What to do, where, and with which value; each number is taken modulo the number of possibilities."""

    kind: int
    where: int
    value: int


class Mutant(NamedTuple):
    """A mutated payload.

    `rest` is the payload without the row that was touched; None: the row is the whole payload, or it is not known. `rows` is the
    number of rows that were touched. With `exact`, only that row may differ.
    """

    body: bytes
    kind: str
    rest: bytes | None = None
    exact: bool = False
    rows: int = 1


class Node(NamedTuple):
    """A value in JSON. `key` is where its name begins in an object, else -1; `parent` is -1 for the whole payload."""

    start: int
    end: int
    parent: int
    key: int
    children: tuple[int, ...]


def parse(body: bytes) -> tuple[Node, ...]:
    """Every value of a JSON payload, an enclosing one before those within; none if it is no JSON."""
    nodes: list[list[int]] = []  # start, end, parent, key
    children: list[list[int]] = []
    open_: list[int] = []
    key, position = -1, 0
    while match := _TOKEN.match(body, position):
        start, position = match.span(1)
        token = body[start : start + 1]
        if token in b"}]":
            nodes[open_.pop()][1] = position
        elif token in (b":", b","):
            continue
        elif token == b'"' and key < 0 and open_ and body[nodes[open_[-1]][0]] == 0x7B:
            key = start
        else:
            parent = open_[-1] if open_ else -1
            nodes.append([start, position, parent, key])
            children.append([])
            key = -1
            if parent >= 0:
                children[parent].append(len(nodes) - 1)
            if token in b"{[":
                open_.append(len(nodes) - 1)
        if not open_:
            break
    if open_ or not nodes or body[position:].strip():
        return ()
    return tuple(Node(*node, tuple(child)) for node, child in zip(nodes, children, strict=True))


class Rows:
    """A payload that can be mutated. `outermost`: its rows are the elements of the outermost lists, else those of the innermost.

    The members of an object that are objects with the same names count as elements of a list. `pattern` finds the rows of a payload
    that is no JSON.
    """

    def __init__(self, body: bytes, *, outermost: bool = False, pattern: re.Pattern[bytes] | None = None) -> None:
        self.body = body
        self._outermost = outermost
        self._nodes = () if pattern is not None else parse(body)
        self._spans = [] if pattern is None else [match.span() for match in pattern.finditer(body)]
        self._markup = b"<" in body
        self._named = [index for index, node in enumerate(self._nodes) if node.key >= 0]
        self._elements = [index for index, node in enumerate(self._nodes) if node.parent >= 0 and self._is_list(node.parent)]
        self._kinds: list[Callable[[int, int, int], Mutant]] = [self._byte, self._cut, self._insert]
        if self._spans:
            self._kinds += [self._word] * 6 + [self._line] * 4
        if self._nodes:
            self._kinds += [self._replace] * 8 + [self._confuse] * 2 + [self._member] * 3 * bool(self._named)
            self._kinds += [self._element] * 4 * bool(self._elements)

    def mutate(self, choice: Choice) -> Mutant:
        """The mutation that `choice` selects."""
        kind, way = choice.kind % len(self._kinds), choice.kind // len(self._kinds)
        return self._kinds[kind](way, choice.where, choice.value)

    # --- JSON -------------------------------------------------------------------------------------------------------------

    def _text(self, index: int, *, name: bool = False) -> bytes:
        """The bytes of a value, with its name if it is a member of an object."""
        node = self._nodes[index]
        return self.body[node.key if name and node.key >= 0 else node.start : node.end]

    def _name(self, index: int) -> bytes:
        node = self._nodes[index]
        return self.body[node.key : node.start]

    def _is_list(self, index: int) -> bool:
        """Whether the values within are rows of one kind."""
        node = self._nodes[index]
        if self.body[node.start] == ord("["):
            return True
        if self.body[node.start] != ord("{") or len(node.children) < 2:
            return False
        names = [tuple(map(self._name, self._nodes[child].children)) for child in node.children]
        return bool(names[0]) and all(name == names[0] for name in names)

    def _row(self, index: int) -> int | None:
        """The row that contains a value: the object or list in a list, the innermost or the outermost one."""
        found = None
        while index >= 0:
            node = self._nodes[index]
            if node.parent >= 0 and self.body[node.start] in b"[{" and self._is_list(node.parent):
                found = index
                if not self._outermost:
                    break
            index = node.parent
        return found

    def _with(self, index: int, text: bytes) -> bytes:
        node = self._nodes[index]
        return self.body[: node.start] + text + self.body[node.end :]

    def _members(self, parent: int, texts: list[bytes]) -> bytes:
        """The payload with other members in the list or object `parent`."""
        node = self._nodes[parent]
        bounds = b"[]" if self.body[node.start] == ord("[") else b"{}"
        return self._with(parent, bounds[:1] + b",".join(texts) + bounds[1:])

    def _without(self, *rows: int) -> bytes:
        """The payload without rows of one list."""
        parent = self._nodes[rows[0]].parent
        return self._members(parent, [self._text(one, name=True) for one in self._nodes[parent].children if one not in rows])

    def _touched(self, body: bytes, kind: str, index: int, *, readable: bool = True) -> Mutant:
        row = self._row(index)
        if row is None:
            return Mutant(body, kind)
        return Mutant(body, kind, self._without(row), readable)

    def _replace(self, way: int, where: int, value: int) -> Mutant:
        index, odd = where % len(self._nodes), ODD[value % len(ODD)]
        return self._touched(self._with(index, odd), f"value {odd[:20]!r}", index, readable=odd not in UNREADABLE)

    def _confuse(self, way: int, where: int, value: int) -> Mutant:
        """The same value in another type."""
        index = where % len(self._nodes)
        text, children = self._text(index), self._nodes[index].children
        forms = [b"[" + text + b"]", b'{"a":' + text + b"}"]
        match text[:1]:
            case b'"':
                forms.append(text[1:-1] if re.fullmatch(rb"-?[0-9]+(\.[0-9]+)?", text[1:-1]) else b'["' + text[1:-1] + b'"]')
            case b"[":
                forms.append(b"{" + b",".join(b'"%d":%b' % (n, self._text(child)) for n, child in enumerate(children)) + b"}")
            case b"{":
                forms.append(b"[" + b",".join(map(self._text, children)) + b"]")
            case _:
                forms.append(b'"' + text + b'"')
        return self._touched(self._with(index, forms[value % len(forms)]), "type", index)

    def _member(self, way: int, where: int, value: int) -> Mutant:
        """A member of an object dropped, renamed or doubled."""
        index = self._named[where % len(self._named)]
        parent, odd = self._nodes[index].parent, ODD[value % len(ODD)]
        texts = [self._text(child, name=True) for child in self._nodes[parent].children]
        place = self._nodes[parent].children.index(index)
        match way % 3:
            case 0:
                del texts[place]
            case 1:
                texts[place] = b'"odd":' + self._text(index)
            case _:
                texts.insert(place + value % 2, self._name(index) + odd)
        kind = ("member dropped", "member renamed", f"value {odd[:20]!r} doubled")[way % 3]  # the last of two values counts
        return self._touched(self._members(parent, texts), kind, index, readable=way % 3 < 2 or odd not in UNREADABLE)

    def _element(self, way: int, where: int, value: int) -> Mutant:
        """An element of a list dropped, doubled, moved, or with an odd one beside it."""
        index = self._elements[where % len(self._elements)]
        parent = self._nodes[index].parent
        children = self._nodes[parent].children
        texts, place = [self._text(child, name=True) for child in children], children.index(index)
        odd = ODD[value % len(ODD)]
        named = self._name(index).replace(b'"', b'"odd', 1) + odd if self._nodes[index].key >= 0 else odd
        is_row, readable = self._row(index) == index, True
        match way % 6:
            case 0:
                kind, texts[place : place + 1] = "element dropped", []
            case 1:
                kind, texts[place:place] = "element doubled", [texts[place]]
            case 2:
                other = (place + 1) % len(texts)
                kind, texts[place], texts[other] = "elements reordered", texts[other], texts[place]
                if is_row and other != place and self._row(children[other]) == children[other]:
                    return Mutant(self._members(parent, texts), kind, self._without(index, children[other]), True, 2)
            case 3:
                kind, texts[place:place] = "many elements", [texts[place]] * many_of(texts[place])
            case _:
                many = way % 6 == 5 and len(odd) < 50
                kind, texts[place:place] = f"{'many ' * many}element {odd[:20]!r}", [named] * (MANY if many else 1)
                readable = odd not in UNREADABLE and not many  # a reader may give up a list that is nothing but odd
                if is_row:  # the row is an additional one
                    return Mutant(self._members(parent, texts), kind, self.body, readable)
        return self._touched(self._members(parent, texts), kind, index, readable=readable)

    # --- text -------------------------------------------------------------------------------------------------------------

    def _word(self, way: int, where: int, value: int) -> Mutant:
        """A word of a line or of an item replaced."""
        start, end = self._spans[where % len(self._spans)]
        odds = ODD_TEXT + MARKUP if self._markup else ODD_TEXT
        odd = odds[value % len(odds)]
        words = [match.span() for match in _WORD.finditer(self.body, start, end)] or [(start, start)]
        first, last = words[where // len(self._spans) % len(words)]
        body, rest = self.body[:first] + odd + self.body[last:], self.body[:start] + self.body[end:]
        return Mutant(body, f"word {odd[:20]!r}", rest, odd not in BREAKING)

    def _line(self, way: int, where: int, value: int) -> Mutant:
        """A line or an item dropped, doubled, moved, or with an odd one beside it."""
        number = where % len(self._spans)
        start, end = self._spans[number]
        before, row, after = self.body[:start], self.body[start:end], self.body[end:]
        match way % 4:
            case 0:
                return Mutant(before + after, "row dropped", before + after, True)
            case 1:
                return Mutant(before + row * (many_of(row) if value % 8 == 7 else 2) + after, "row doubled", before + after, True)
            case 2 if number + 1 < len(self._spans):
                begin, stop = self._spans[number + 1]
                between, other, after = self.body[end:begin], self.body[begin:stop], self.body[stop:]
                return Mutant(before + other + between + row + after, "rows reordered", before + between + after, True, 2)
        odd = ODD_TEXT[value % len(ODD_TEXT)]
        return Mutant(
            before + odd + (b"" if self._markup else b"\n") + row + after, f"row {odd[:20]!r}", self.body, odd not in BREAKING
        )

    # --- bytes ------------------------------------------------------------------------------------------------------------

    def _byte(self, way: int, where: int, value: int) -> Mutant:
        place = where % (len(self.body) or 1)
        return Mutant(self.body[:place] + bytes([value % 256]) + self.body[place + 1 :], "byte replaced")

    def _cut(self, way: int, where: int, value: int) -> Mutant:
        place = where % (len(self.body) or 1)
        return Mutant(self.body[:place] + (self.body[place + 1 + value % 60 :] if value % 2 else b""), "bytes cut")

    def _insert(self, way: int, where: int, value: int) -> Mutant:
        place = where % (len(self.body) or 1)
        odd = (b"[", b"[[[", b"[" * 10_000, b"{", b'"', b"\0", b"\xff", b",", b"]", b"}", b"\n")[value % 11]
        return Mutant(self.body[:place] + odd + self.body[place:], "bytes inserted")


def many_of(row: bytes) -> int:
    return max(2, min(MANY, MOST_BYTES // (len(row) or 1)))


def shortened(body: bytes, most: int) -> bytes:
    """A JSON payload with at most so many elements in each list."""
    nodes, parts, position = parse(body), [], 0
    for node in nodes:
        if body[node.start] == ord("[") and len(node.children) > most and node.start >= position:
            parts.append(body[position : nodes[node.children[most - 1]].end])
            position = node.end - 1
    return b"".join([*parts, body[position:]])


@lru_cache(maxsize=4096)
def rows(body: bytes, *, outermost: bool = False, pattern: re.Pattern[bytes] | None = None) -> Rows:
    """`Rows`, parsed once for each payload."""
    return Rows(body, outermost=outermost, pattern=pattern)
