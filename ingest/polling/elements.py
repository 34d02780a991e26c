"""Reads the elements of an answer one by one, so that an element that cannot be read costs itself.

The other elements are records. The bad one becomes a `Malformed` with its own bytes as payload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TypeVar

from msgspec import Raw
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.protocol.decode import UNREADABLE, Malformed, malformed

T = TypeVar("T")
R = TypeVar("R")

FLAG = "flag"  # the reason of a `Malformed` whose values are stored although they contradict each other
MAX_EVIDENCE = 20  # bad elements of one answer that are kept as evidence; the last counts the others
MAX_BAD = 10_000  # bad elements after which an answer is not read further: reading them takes a tenth of a second


def elements(raws: Iterable[Raw], decoder: Decoder[T], read: Callable[[T], Iterable[R]]) -> Iterator[R | Malformed]:
    """The records that `read` makes of each element, or a `Malformed` for one that cannot be decoded or that `read` rejects.

    Raises Reject if none of several elements, or the only one, can be read: then the answer is not what was requested.
    """
    return bounded(_elements(((raw, read) for raw in raws), decoder))


def members(raws: Mapping[str, Raw], decoder: Decoder[T], read: Callable[[str, T], Iterable[R]]) -> Iterator[R | Malformed]:
    """As `elements`, for the members of a JSON object: `read` receives the name of each, too."""
    return bounded(_elements(((raw, partial(read, name)) for name, raw in raws.items()), decoder))


def _elements(raws: Iterable[tuple[Raw, Callable[[T], Iterable[R]]]], decoder: Decoder[T]) -> Iterator[R | Malformed]:
    good, first = 0, None
    for raw, read in raws:
        try:
            records = list(read(decoder.decode(raw)))
        except UNREADABLE as error:
            bad = malformed(bytes(raw), error)
        except Reject as error:
            bad = Malformed(bytes(raw), error.reason, str(error))
        else:
            good += 1
            yield from records
            continue
        first = first or bad
        yield bad
    if first is not None and not good:
        raise Reject(first.message, reason=first.reason)


def bounded(rows: Iterable[R]) -> Iterator[R | Malformed]:
    """The rows with at most `MAX_EVIDENCE` of those that cannot be read, and one that counts the others."""
    bad = 0
    last = None
    for row in rows:
        if isinstance(row, Malformed) and row.reason != FLAG:
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
