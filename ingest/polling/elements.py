"""Reads the elements of an answer one by one, so that an element that cannot be read costs itself.

The other elements are records. The bad one becomes a `Malformed` with its own bytes as payload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from msgspec import Raw
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.protocol.decode import UNREADABLE, Malformed, malformed

T = TypeVar("T")
R = TypeVar("R")

MAX_EVIDENCE = 20  # bad elements of one answer that are kept as evidence; the last counts the others
MAX_BAD = 10_000  # bad elements after which an answer is not read further: reading them takes a tenth of a second


def elements(raws: Iterable[Raw], decoder: Decoder[T], read: Callable[[T], Iterable[R]]) -> Iterator[R | Malformed]:
    """The records that `read` makes of each element, or a `Malformed` for one that cannot be decoded or that `read` rejects."""
    return bounded(_elements(raws, decoder, read))


def _elements(raws: Iterable[Raw], decoder: Decoder[T], read: Callable[[T], Iterable[R]]) -> Iterator[R | Malformed]:
    for raw in raws:
        try:
            records = list(read(decoder.decode(raw)))
        except UNREADABLE as error:
            yield malformed(bytes(raw), error)
        except Reject as error:
            yield Malformed(bytes(raw), error.reason, str(error))
        else:
            yield from records


def bounded(rows: Iterable[R | Malformed]) -> Iterator[R | Malformed]:
    """The rows with at most `MAX_EVIDENCE` of those that are malformed, and one that counts the others."""
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
