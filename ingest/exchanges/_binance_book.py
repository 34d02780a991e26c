"""The Binance spot order book: a stream of differences, joined to a REST snapshot.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly

The rule that is easily got wrong: a snapshot has no event time and may be ahead of the stream. It stands only once the event that
contains `lastUpdateId + 1` has come; then every state has the time of an event, and two daemons write the same rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct, field
from msgspec.json import Decoder

from ingest.marketdata.order_book import Book, SampledBook, Side
from ingest.protocol.decode import UNREADABLE, Number, malformed
from ingest.protocol.exchange import Options
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Gap, Output
from ingest.records import SECOND, Instrument

LIMITS = ((100, 5), (500, 25), (1000, 50), (5000, 250))  # levels a side of a snapshot, and the weight of asking for it
MAX_WAITING = 1000  # events kept while a snapshot is awaited: 100 s of a stream of 100 ms
RETRY = SECOND  # from an answer that did not fit to the next question
PACE = 5 * SECOND  # from a book that stands to the next question: 5000 levels every 5 s are half of the exchange's limit


class Diff(Struct, gc=False):
    """`depthUpdate`: what changed in updates `first`..`last`; sizes are absolute, zero removes."""

    time_ms: int = field(name="E")
    first: int = field(name="U")
    last: int = field(name="u")
    bids: list[tuple[Number, Number]] = field(name="b")
    asks: list[tuple[Number, Number]] = field(name="a")


class Snapshot(Struct):
    """`/api/v3/depth`: the best levels as they stood after update `last`."""

    last: int = field(name="lastUpdateId")
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]


_decode_snapshot = Decoder(Snapshot).decode


def snapshot_limit(depth: int) -> tuple[int, int]:
    """The smallest limit that holds `depth` levels twice, and its weight: levels are eaten until the next snapshot."""
    return next((pair for pair in LIMITS if pair[0] >= 2 * depth), LIMITS[-1])


class Depth:
    """One instrument's book through its life: waiting for a snapshot, standing, thin (a new snapshot is awaited), broken.

    Levels beyond a truncated snapshot are not known until an event touches them. `_bounds` says how far each side is known; when
    fewer than half as many again as are written are left within it, a new snapshot is asked for, and with too few the book breaks.
    """

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self.symbol = instrument.symbol
        self._instrument_id = instrument.id
        self._depth = options.book_depth
        self._limit, self._weight = snapshot_limit(options.book_depth)
        self._url = f"{options.rest_url}/api/v3/depth?symbol={instrument.symbol}&limit={self._limit}"
        self._sampled = SampledBook(instrument.id, options.book_depth, options.book_interval)
        self._bounds: list[Decimal | None] = [None, None]
        self._last = 0
        self._waiting: deque[tuple[Diff, int]] | None = deque(maxlen=MAX_WAITING)  # None: no snapshot is wanted
        self._snapshot: Snapshot | None = None  # ahead of the stream
        self._ask_at = 0

    def feed(self, diff: Diff, received_at: int) -> list[Output]:
        """One event of the stream."""
        out = self._follow(diff, received_at) if self._sampled.book is not None else []
        if self._waiting is not None:
            self._collect(self._waiting, diff, received_at)
            out += self._join(received_at) or self._ask(received_at)
        return out

    def answer(self, response: Response, now: int) -> list[Output]:
        """A snapshot; one that is older than the first event we kept is asked for again."""
        if self._waiting is None:
            return []
        self._ask_at = now + RETRY
        try:
            snapshot = _decode_snapshot(response.body)
        except UNREADABLE as error:
            return [malformed(response.body, error)]
        if not self._waiting or snapshot.last < self._waiting[0][0].first:
            return []
        self._snapshot = snapshot
        return self._join(now)

    def failed(self, now: int) -> None:
        """The question has no answer: ask again."""
        self._ask_at = now + RETRY

    def tick(self, now: int) -> list[Output]:
        """The clock: states after which nothing came, and questions that are due."""
        return [*self._sampled.idle(now), *self._ask(now)]

    def _follow(self, diff: Diff, received_at: int) -> list[Output]:
        if diff.last <= self._last:
            return []
        if diff.first == self._last + 1:
            return self._apply(diff, received_at)
        self._want()
        return [*self._gap(self._sampled.broken("sequence", diff.time_ms * 1000))]

    def _apply(self, diff: Diff, received_at: int) -> list[Output]:
        time, book = diff.time_ms * 1000, self._sampled.book
        assert book is not None
        out: list[Output] = [*self._sampled.due(time)]
        book.apply(diff.bids, diff.asks)
        self._last = diff.last
        known = self._known(book)
        if known < self._depth:
            out += self._gap(self._sampled.broken("sequence", time))
        else:
            out += self._gap(self._sampled.applied(time, received_at, diff.last))
        if self._sampled.book is None or known < self._depth * 3 // 2:
            self._want()
        return out

    def _gap(self, gaps: Sequence[Gap]) -> list[Gap]:
        return [*gaps]

    def _want(self) -> None:
        if self._waiting is None:
            self._waiting = deque(maxlen=MAX_WAITING)

    def _ask(self, now: int) -> list[Output]:
        """The stream must flow first: a snapshot from before the first event that we hold can never be joined to it."""
        if not self._waiting or self._snapshot is not None or now < self._ask_at:
            return []
        self._ask_at = now + (60 + 2 * self._weight) * SECOND  # a lost answer; it may queue behind those of a hundred books
        return [Request(self._url, weight=self._weight, tag=self.symbol)]

    def _collect(self, waiting: deque[tuple[Diff, int]], diff: Diff, received_at: int) -> None:
        if waiting and diff.last <= waiting[-1][0].last:
            return
        if waiting and diff.first != waiting[-1][0].last + 1:
            waiting.clear()
            self._snapshot = None
        waiting.append((diff, received_at))

    def _join(self, now: int) -> list[Output]:
        """Put the kept events upon the snapshot, once the stream has reached it."""
        snapshot, waiting = self._snapshot, self._waiting
        if snapshot is None or waiting is None or waiting[-1][0].last <= snapshot.last:
            return []
        events = [(diff, received_at) for diff, received_at in waiting if diff.last > snapshot.last]
        self._snapshot = self._waiting = None
        self._ask_at = now + PACE
        book = Book()
        book.apply(snapshot.bids, snapshot.asks)
        self._bounds = [bound_of(snapshot.bids, self._limit), bound_of(snapshot.asks, self._limit)]
        return self._begin(book, events) if self._sampled.book is None else self._renew(book, events)

    def _begin(self, book: Book, events: list[tuple[Diff, int]]) -> list[Output]:
        out: list[Output] = []
        self._sampled.book = book
        for diff, received_at in events:
            if self._sampled.book is not None:
                out += self._apply(diff, received_at)
        return out

    def _renew(self, book: Book, events: list[tuple[Diff, int]]) -> list[Output]:
        """The standing book has already written what these events say."""
        for diff, _ in events:
            book.apply(diff.bids, diff.asks)
        self._sampled.book = book
        return []

    def _known(self, book: Book) -> int:
        """How many levels are surely right on the poorer side; a side that is known to its end counts as deep enough."""
        counts = [2 * self._depth]
        for index, side in enumerate((book.bids, book.asks)):
            bound = self._bounds[index] = trimmed(side, self._bounds[index], 2 * self._limit)
            if bound is not None:
                counts.append(side.within(bound))
        return min(counts)


def bound_of(levels: list[tuple[str, str]], limit: int) -> Decimal | None:
    """How far a snapshot's side is known: to its worst level if it is full, else without end."""
    return Decimal(levels[-1][0]) if len(levels) >= limit else None


def trimmed(side: Side, bound: Decimal | None, keep: int) -> Decimal | None:
    """The side's bound, after a side that has grown to twice `keep` levels was cut: a day of differences would fill memory."""
    if len(side) <= 2 * keep:
        return bound
    if side.within(bound) >= keep:
        bound = Decimal(side.best(keep)[-1][0])
    side.truncate(keep)
    return bound
