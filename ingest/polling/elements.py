"""Reads the elements of an answer one by one, so that an element that cannot be read costs itself.

The other elements are records. The bad one becomes a `Malformed` with its own bytes as payload.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from msgspec import Raw
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.protocol.decode import UNREADABLE, Malformed, malformed

T = TypeVar("T")
R = TypeVar("R")

MAX_EVIDENCE = 20  # bad elements of one answer that are kept as evidence; the last counts the others
MAX_BAD = 5_000  # bad elements after which an answer is not read further: reading them takes a tenth of a second
SLICE = 1000  # rows that are read before other tasks run: at most 50 ms


def elements(raws: Iterable[Raw], decoder: Decoder[T], read: Callable[[T], Iterable[R]]) -> Iterator[R | Malformed]:
    """The records that `read` makes of each element of a JSON list; see `each`."""
    return each(raws, lambda raw: read(decoder.decode(raw)), bytes)


def members(raws: Mapping[str, Raw], decoder: Decoder[T], read: Callable[[str, T], Iterable[R]]) -> Iterator[R | Malformed]:
    """The records that `read` makes of the name and value of each member of a JSON object; see `each`."""
    return each(raws.items(), lambda member: read(member[0], decoder.decode(member[1])), lambda member: bytes(member[1]))


def each(parts: Iterable[T], read: Callable[[T], Iterable[R]], evidence: Callable[[T], bytes]) -> Iterator[R | Malformed]:
    """The records that `read` makes of each part of an answer, or a `Malformed` for one that cannot be decoded or is rejected.

    Raises Reject if no part can be read, and there is one: then the answer is not what was requested.
    """
    return bounded(_each(parts, read, evidence))


def _each(parts: Iterable[T], read: Callable[[T], Iterable[R]], evidence: Callable[[T], bytes]) -> Iterator[R | Malformed]:
    good, first = 0, None
    for part in parts:
        try:
            records = list(read(part))
        except UNREADABLE as error:
            bad = malformed(evidence(part), error)
        except Reject as error:
            bad = Malformed(evidence(part), error.reason, str(error))
        else:
            good += 1
            yield from records
            continue
        first = first or bad
        yield bad
    if first is not None and not good:
        raise Reject(first.message, reason=first.reason)


def readable(raws: Iterable[Raw], decoder: Decoder[T]) -> Iterator[T]:
    """The elements of a list within an element that can be read. The others are left out: they say less than what they are in."""
    for raw in raws:
        try:
            yield decoder.decode(raw)
        except UNREADABLE:
            continue


def bounded(rows: Iterable[R]) -> Iterator[R | Malformed]:
    """The rows with at most `MAX_EVIDENCE` of those that cannot be read, and one that counts the others."""
    bad = 0
    last = None
    for row in rows:
        if isinstance(row, Malformed):
            bad += 1
            if bad > MAX_EVIDENCE:
                last = row
                if bad == MAX_BAD:
                    break
                continue
        yield row
    if last is not None:
        rest = "; the rest is not read" if bad == MAX_BAD else ""
        yield Malformed(
            last.payload, last.reason, f"{bad - MAX_EVIDENCE} further elements cannot be read, the last: {last.message}{rest}"
        )


def sliced(rows: Iterable[R], size: int = SLICE) -> Generator[list[Any], Any, list[R]]:
    """The rows. Yields an empty list after each `size` of them, so that other tasks run: reading a megabyte may take a second."""
    read: list[R] = []
    for row in rows:
        read.append(row)
        if not len(read) % size:
            yield []
    return read


def split(records: Iterable[T | Malformed]) -> tuple[list[T], list[Malformed]]:
    """The good ones of some elements, and the others."""
    good: list[T] = []
    bad: list[Malformed] = []
    for record in records:
        if isinstance(record, Malformed):
            bad.append(record)
        else:
            good.append(record)
    return good, bad
