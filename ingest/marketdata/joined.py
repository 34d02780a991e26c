"""An order book made of numbered differences that are joined to a snapshot of REST; shared by the exchanges that have such.

Pure. The rule that is easily got wrong: a snapshot has no event time and may be ahead of the stream. It stands only once a
difference that goes beyond it has come; then every state has the time of an event, and two daemons write the same rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from ingest.marketdata.order_book import Book, Hole, Level, SampledBook, Side
from ingest.protocol.exchange import Options
from ingest.protocol.session import Gap
from ingest.records import SECOND, BookSnapshot

MAX_WAITING = 1000  # differences kept while a snapshot is awaited
RETRY = SECOND  # from an answer that did not fit to the next question
PACE = 5 * SECOND  # from a book that stands to the next question
ANSWER = 60 * SECOND  # an answer that is not here by then is lost

Said = list[BookSnapshot | Gap]


class Diff(Struct, frozen=True, gc=False):
    """What changed in updates `first`..`last` at `time` (microseconds); sizes are absolute, zero removes."""

    time: int
    first: int
    last: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class Snapshot(Struct, frozen=True):
    """The best levels as they stood after update `last`."""

    last: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class JoinedBook:
    """One instrument's book through its life: waiting for a snapshot, standing, thin (a new snapshot is awaited), broken.

    A snapshot has at most `levels` a side; those beyond are not known until a difference touches them. `_bounds` says how far each
    side is known: when fewer than half as many again as are written are left within it, a new snapshot is wanted, and with too few
    the book breaks. No side grows beyond `keep`: where differences come of so many levels only, those beyond are no longer true.
    """

    def __init__(self, instrument_id: int, options: Options, *, levels: int, keep: int) -> None:
        self._instrument_id = instrument_id
        self._depth = options.book_depth
        self._levels = levels
        self._keep = keep
        self._sampled = SampledBook(instrument_id, options.book_depth, options.book_interval)
        self._bounds: list[Decimal | None] = [None, None]
        self._last = 0
        self._waiting: deque[tuple[Diff, int]] | None = deque(maxlen=MAX_WAITING)  # None: no snapshot is wanted
        self._snapshot: Snapshot | None = None  # ahead of the stream
        self._ask_at = 0

    def feed(self, diff: Diff, received_at: int) -> Said:
        """One difference of the stream."""
        out = self._follow(diff, received_at) if self._sampled.book is not None else []
        if self._waiting is not None:
            self._collect(self._waiting, diff, received_at)
            out += self._join(received_at)
        return out

    def whole(self, diff: Diff, received_at: int) -> Said:
        """The exchange itself sent every level that it has or shows: the book begins anew with it."""
        if self._sampled.book is not None and diff.last <= self._last:
            return []
        out: Said = [*self._sampled.due(diff.time)]
        self._stand(Snapshot(diff.last, diff.bids, diff.asks), received_at)
        return out + self._applied(diff, received_at)

    def wants(self, now: int) -> bool:
        """Whether to ask for a snapshot now; who is told so asks. The stream must flow first: a snapshot from before the first
        difference that is held can never be joined to it.
        """
        if not self._waiting or self._snapshot is not None or now < self._ask_at:
            return False
        self._ask_at = now + ANSWER
        return True

    def answer(self, snapshot: Snapshot | None, now: int) -> Said:
        """The snapshot that was asked for, None for one that could not be read. One that is too old is asked for again."""
        if self._waiting is None:
            return []
        self._ask_at = now + RETRY
        if snapshot is None or not self._waiting or snapshot.last + 1 < self._waiting[0][0].first:
            return []
        self._snapshot = snapshot
        return self._join(now)

    def idle(self, now: int) -> Said:
        """On a clock tick: the state after which nothing came."""
        return [*self._sampled.idle(now)]

    def _follow(self, diff: Diff, received_at: int) -> Said:
        if diff.last <= self._last:
            return []
        if diff.first <= self._last + 1:
            return self._apply(diff, received_at)
        self._want()
        return self._gap(self._sampled.broken("sequence", diff.time))

    def _apply(self, diff: Diff, received_at: int) -> Said:
        book = self._sampled.book
        assert book is not None
        out: Said = [*self._sampled.due(diff.time)]
        book.apply(diff.bids, diff.asks)
        return out + self._applied(diff, received_at)

    def _applied(self, diff: Diff, received_at: int) -> Said:
        book = self._sampled.book
        assert book is not None
        self._last = diff.last
        known = self._known(book)
        if known < self._depth:
            hole = self._sampled.broken("sequence", diff.time)
        else:
            hole = self._sampled.applied(diff.time, received_at, diff.last)
        if self._sampled.book is None or known < self._depth * 3 // 2:
            self._want()
        return self._gap(hole)

    def _gap(self, hole: Hole | None) -> Said:
        return [] if hole is None else [Gap(self._instrument_id, "book", *hole)]

    def _want(self) -> None:
        if self._waiting is None:
            self._waiting = deque(maxlen=MAX_WAITING)

    def _collect(self, waiting: deque[tuple[Diff, int]], diff: Diff, received_at: int) -> None:
        if waiting and diff.last <= waiting[-1][0].last:
            return
        if waiting and diff.first > waiting[-1][0].last + 1:
            waiting.clear()
            self._snapshot = None
        waiting.append((diff, received_at))

    def _join(self, now: int) -> Said:
        """Put the kept differences upon the snapshot, once the stream has gone beyond it."""
        snapshot, waiting = self._snapshot, self._waiting
        if snapshot is None or waiting is None or waiting[-1][0].last <= snapshot.last:
            return []
        begins = self._sampled.book is None
        self._stand(snapshot, now)
        out: Said = []
        for diff, received_at in waiting:
            book = self._sampled.book
            if book is None or diff.last <= snapshot.last:
                continue
            if begins:
                out += self._apply(diff, received_at)
            else:
                book.apply(diff.bids, diff.asks)  # what it says was written already, of the book that stood
        return out

    def _stand(self, snapshot: Snapshot, now: int) -> None:
        self._snapshot = self._waiting = None
        self._ask_at = now + PACE
        book = self._sampled.book = Book()
        book.apply(snapshot.bids, snapshot.asks)
        self._bounds = [bound_of(snapshot.bids, self._levels), bound_of(snapshot.asks, self._levels)]

    def _known(self, book: Book) -> int:
        """How many levels are surely right on the poorer side; a side that is known to its end counts as deep enough."""
        counts = [2 * self._depth]
        for index, side in enumerate((book.bids, book.asks)):
            bound = self._bounds[index] = trimmed(side, self._bounds[index], self._keep)
            if bound is not None:
                counts.append(side.within(bound))
        return min(counts)


def bound_of(levels: Sequence[Level], limit: int) -> Decimal | None:
    """How far a snapshot's side is known: to its worst level if it is full, else without end."""
    return Decimal(levels[-1][0]) if len(levels) >= limit else None


def trimmed(side: Side, bound: Decimal | None, keep: int) -> Decimal | None:
    """The side's bound, after a side that has grown beyond `keep` levels was cut to them."""
    if len(side) <= keep:
        return bound
    if side.within(bound) >= keep:
        bound = Decimal(side.best(keep)[-1][0])
    side.truncate(keep)
    return bound
