"""An order book of numbered differences that are joined to a snapshot from REST.

Most snapshots have no event time. Once the stream has reached the snapshot, every state has the time of an event, so two daemons
write the same rows. A snapshot ahead of a silent stream is applied after `SETTLE`: with its own time where it has one, else with
the time of our clock and this daemon's name as the writer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct

from ingest.marketdata.channels import ChannelState, Market
from ingest.marketdata.order_book import SETTLE, Book, SampledBook, Side
from ingest.marketdata.rest import evidence
from ingest.marketdata.values import AHEAD, Level, ahead, good_level, sift_levels
from ingest.protocol.decode import UNREADABLE, Malformed, decode_mended
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Output
from ingest.records import SECOND

KEPT_TIME = 60 * SECOND  # in which differences are kept while a snapshot is awaited
KEPT_BYTES = 4 << 20  # of them; the oldest are dropped beyond either bound
LEVEL_BYTES = 200  # of a kept level; a difference has about two more
RETRY = SECOND  # from a useless response to the next request; doubles up to
LONGEST_RETRY = 60 * SECOND
PACE = 5 * SECOND  # from an applied snapshot to the next request
QUIET = 5 * SECOND  # without a first difference, after which the snapshot of a quiet market is requested
SHOWN = 20  # bad levels of a snapshot that are kept as evidence


class Diff(Struct, frozen=True, gc=False):
    """The levels changed by updates `first`..`last`; sizes are absolute, zero removes. `whole`: these levels are the whole book."""

    time: int | None  # microseconds; None where the exchange sends none
    first: int
    last: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    whole: bool = False


class Snapshot(Struct, frozen=True):
    """The best levels after update `last`, as decoded JSON: each level is checked by itself."""

    last: int
    bids: Sequence[Any]
    asks: Sequence[Any]
    time: int | None = None  # of the last change in it, in microseconds


class RestSnapshot(Struct, frozen=True):
    """The request of a snapshot (`{}` is the symbol) and the parser of its response, which raises UNREADABLE or ValueError."""

    path: str
    parse: Callable[[bytes], Snapshot]
    levels: int  # per side, of a full snapshot
    weight: int = 1


class SyncedBook(Struct, frozen=True):
    """A channel of differences. `exact`: it covers only as many levels as the snapshot has, so deeper levels become stale."""

    row: Any
    parse: Callable[[Any], Diff]
    snapshot: RestSnapshot | Callable[[ExchangeOptions], RestSnapshot]  # a function where it depends on `book_depth`
    exact: bool = False

    def open(self, market: Market) -> ChannelState:
        snapshot = self.snapshot if isinstance(self.snapshot, RestSnapshot) else self.snapshot(market.options)
        book = SyncedBookState(market, self.parse, snapshot, keep=snapshot.levels * (1 if self.exact else 2))
        return ChannelState(book.feed, book.lost, book.tick, book.answer)


class SyncedBookState:
    """One instrument's book: waiting for a snapshot, joined to it, thin (a new snapshot is needed), or broken.

    Levels beyond a full snapshot are unknown until a difference sets them. `_bounds` are the worst prices up to which each side is
    known. With fewer than 1.5 times `book_depth` levels within the bounds a new snapshot is needed, with fewer than `book_depth`
    the book is broken.
    """

    def __init__(self, market: Market, parse: Callable[[Any], Diff], snapshot: RestSnapshot, *, keep: int) -> None:
        options, instrument = market.options, market.instrument
        self._exchange = market.exchange
        self._parse = parse
        self._rest = snapshot
        self._request = Request(options.rest_url + snapshot.path.format(instrument.symbol), snapshot.weight, tag=instrument.symbol)
        self._depth = options.book_depth
        self._keep = keep
        self._trim_at = keep if keep == snapshot.levels else 2 * keep  # cutting each time would cost more than the levels
        self._sampled = SampledBook(instrument.id, options.book_depth, options.book_interval, options.writer)
        self._bounds: list[Decimal | None] = [None, None]
        self._last = -1
        self._waiting: deque[tuple[Diff, int]] | None = deque()  # consecutive; None: no snapshot is needed
        self._waiting_bytes = 0
        self._snapshot: Snapshot | None = None  # received, but not reached by the stream
        self._alone_at = 0
        self._requested = False  # the transport reports the response or the failure of each request
        self._request_at = 0
        self._retry = RETRY
        self._quiet_at: int | None = None

    def feed(self, row: Any, received_at: int, snapshot: bool) -> Sequence[Output]:
        """Take one difference of the stream. Raises ValueError."""
        diff = self._parse(row)
        if diff.time is not None and diff.time > received_at + AHEAD:
            raise ahead(diff.time, received_at)
        if diff.whole:
            return self._replace_whole(diff, received_at)
        out = self._follow(diff, received_at) if self._sampled.book is not None else []
        if self._waiting is None:  # the usual case
            return out
        self._collect(self._waiting, diff, received_at)
        return [*out, *self._join(received_at), *self._request_due(received_at)]

    def lost(self, now: int) -> Sequence[Output]:
        """A difference could not be read: the book is broken, and no snapshot that was kept has that difference."""
        self._waiting, self._waiting_bytes, self._snapshot = deque(), 0, None
        return () if self._sampled.book is None else self._sampled.broken("sequence", now)

    def answer(self, response: Response | None, now: int) -> list[Output]:
        """Take the requested snapshot; None: the request failed. After a useless response the pause to the next request doubles."""
        self._requested = False
        if self._waiting is None:
            return []
        self._request_at, self._retry = now + self._retry, min(2 * self._retry, LONGEST_RETRY)
        if response is None:
            return []
        try:
            snapshot = decode_mended(self._rest.parse, response.body)
            bids, asks, rejected = good_sides(self._exchange, snapshot.bids, snapshot.asks)
            if snapshot.time is not None and snapshot.time > now + AHEAD:
                raise ahead(snapshot.time, now)
        except (*UNREADABLE, ValueError) as error:
            return [evidence(self._exchange, response.body, error)]
        self._snapshot, self._alone_at = Snapshot(snapshot.last, bids, asks, snapshot.time), now + SETTLE
        return [*rejected, *self._join(now)]

    def tick(self, now: int) -> Sequence[Output]:
        """On a clock tick: the state, a snapshot ahead of a silent stream, the request of a snapshot; each if due."""
        out = self._sampled.idle(now)
        if self._waiting is None:
            return out
        if self._quiet_at is None:
            self._quiet_at = now + QUIET
        return [*out, *self._join(now), *self._request_due(now)]

    # --- a book with its snapshot ---------------------------------------------------------------------------------------

    def _follow(self, diff: Diff, received_at: int) -> list[Output]:
        if diff.last <= self._last:
            return []
        if diff.first <= self._last + 1:
            return self._apply(diff, received_at)
        self._need_snapshot()
        return [*self._sampled.broken("sequence", received_at if diff.time is None else diff.time)]

    def _apply(self, diff: Diff, received_at: int) -> list[Output]:
        book = self._sampled.book
        assert book is not None
        out: list[Output] = [*self._sampled.due(received_at if diff.time is None else diff.time)]
        book.apply(diff.bids, diff.asks)
        out += self._applied(book, diff.time, received_at, diff.last)
        return out

    def _applied(self, book: Book, time: int | None, received_at: int, sequence: int) -> Sequence[Output]:
        self._last = sequence
        known = self._known(book)
        if known >= self._depth:
            out = self._sampled.applied(time, received_at, sequence)
        else:
            out = self._sampled.broken("sequence", received_at if time is None else time)
        if self._waiting is None and (self._sampled.book is None or known < self._depth * 3 // 2):
            self._need_snapshot()
        return out

    def _known(self, book: Book) -> int:
        """The number of known levels on the side that has fewer; a side that is known to its end counts as deep enough."""
        known, bounds = 2 * self._depth, self._bounds
        for index, side in enumerate((book.bids, book.asks)):
            if len(side) > self._trim_at:
                bounds[index] = trimmed(side, bounds[index], self._keep)
            bound = bounds[index]
            if bound is not None and (within := side.within(bound)) < known:
                known = within
        return known

    def _replace_whole(self, diff: Diff, received_at: int) -> list[Output]:
        """The exchange sent the whole book: replace it."""
        if self._sampled.book is not None and diff.last <= self._last:
            return []
        out: list[Output] = [*self._sampled.due(received_at if diff.time is None else diff.time)]
        book = self._replace(Snapshot(diff.last, diff.bids, diff.asks), received_at)
        out += self._applied(book, diff.time, received_at, diff.last)
        return out

    # --- a snapshot that is needed --------------------------------------------------------------------------------------

    def _need_snapshot(self) -> None:
        if self._waiting is None:
            self._waiting, self._waiting_bytes = deque(), 0

    def _request_due(self, now: int) -> Sequence[Output]:
        """The request of a snapshot, if due; one at a time. The stream must have begun or be quiet, else it is too old."""
        flows = bool(self._waiting) or (self._waiting is not None and self._quiet_at is not None and now >= self._quiet_at)
        if not flows or self._requested or self._snapshot is not None or now < self._request_at:
            return ()
        self._requested = True
        return (self._request,)

    def _collect(self, waiting: deque[tuple[Diff, int]], diff: Diff, received_at: int) -> None:
        if waiting and diff.last <= waiting[-1][0].last:
            return
        if waiting and diff.first > waiting[-1][0].last + 1:
            waiting.clear()
            self._snapshot, self._waiting_bytes = None, 0
        waiting.append((diff, received_at))
        self._waiting_bytes += size_of(diff)
        while waiting and (self._waiting_bytes > KEPT_BYTES or received_at - waiting[0][1] > KEPT_TIME):
            self._waiting_bytes -= size_of(waiting.popleft()[0])

    def _join(self, now: int) -> list[Output]:
        """Apply the kept differences to the snapshot, once the stream has reached it or stays silent."""
        snapshot, waiting = self._snapshot, self._waiting
        if snapshot is None or waiting is None:
            return []
        if waiting and snapshot.last + 1 < waiting[0][0].first:  # the differences between them are not known
            self._snapshot, self._retry = None, RETRY  # an old snapshot is no defect
            return []
        reached = bool(waiting) and waiting[-1][0].last >= snapshot.last
        if not reached and now < self._alone_at:
            return []
        begins = self._sampled.book is None
        book = self._replace(snapshot, now)
        if not reached:
            out: list[Output] = [*self._sampled.due(now if snapshot.time is None else snapshot.time)]
            return [*out, *self._applied(book, snapshot.time, now, snapshot.last)]
        out = []
        for diff, received_at in waiting:
            if diff.last < snapshot.last or self._sampled.book is None:
                continue
            if not begins:  # a thin book was replaced, in which these differences were applied and written already
                book.apply(diff.bids, diff.asks)
                self._last = diff.last
            elif diff.last > snapshot.last:
                out += self._apply(diff, received_at)
            else:
                out += self._applied(book, diff.time, received_at, snapshot.last)
        return out

    def _replace(self, snapshot: Snapshot, now: int) -> Book:
        self._snapshot = self._waiting = None
        self._request_at, self._retry, self._last = now + PACE, RETRY, snapshot.last
        book = self._sampled.book = Book()
        book.apply(snapshot.bids, snapshot.asks)
        self._bounds = [bound_of(snapshot.bids, self._rest.levels), bound_of(snapshot.asks, self._rest.levels)]
        return book


def good_sides(
    exchange: str, bids: Sequence[Any], asks: Sequence[Any], read: Callable[[Any], Level] = good_level
) -> tuple[Sequence[Level], Sequence[Level], Sequence[Malformed]]:
    """A snapshot's good levels, and a record of the bad ones. Raises ValueError where a side has only bad levels."""
    (good_bids, bad_bids), (good_asks, bad_asks) = sift_levels(bids, read), sift_levels(asks, read)
    bad = bad_bids + bad_asks
    if (bad_bids and not good_bids) or (bad_asks and not good_asks):
        raise ValueError(bad[0])
    shown = "; ".join(bad[:SHOWN]).encode()
    return good_bids, good_asks, (Malformed(shown, "value", f"{exchange}: {len(bad)} bad levels of a snapshot"),) if bad else ()


def size_of(diff: Diff) -> int:
    """About the bytes of memory of a difference."""
    return LEVEL_BYTES * (2 + len(diff.bids) + len(diff.asks))


def bound_of(levels: Sequence[Level], limit: int) -> Decimal | None:
    """The price up to which a snapshot's side is known: its worst level if it is full, else None, without bound."""
    return Decimal(levels[-1][0]) if len(levels) >= limit else None


def trimmed(side: Side, bound: Decimal | None, keep: int) -> Decimal | None:
    """Cut the side to `keep` levels. Returns its new bound."""
    if side.within(bound) >= keep:
        bound = Decimal(side.best(keep)[-1][0])
    side.truncate(keep)
    return bound
