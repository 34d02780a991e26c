"""An order book whose snapshot comes over the websocket. A broken book subscribes again to get a new snapshot.

A snapshot without a time, and changes without a time after it, have the time of the next change. `SETTLE` after the first of them
they are written with the time of our clock, and this daemon's name as the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from ingest.marketdata.channels import ChannelState, Market
from ingest.marketdata.order_book import NEVER, SETTLE, Book, SampledBook
from ingest.marketdata.synced_book import good_sides
from ingest.marketdata.values import AHEAD, Level, ahead, check_levels, good_level
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Output, Relist
from ingest.records import Instrument

MAX_MISMATCHES = 3  # fresh snapshots in a row whose checksum fails; then the checksum is no longer verified


class Update(Struct, frozen=True, gc=False):
    """A snapshot or a change, its levels as decoded JSON. `previous` is the sequence of the update before it."""

    time: int | None  # microseconds; None: the time of the update before it
    bids: Sequence[Any]
    asks: Sequence[Any]
    sequence: int | None = None
    previous: int | None = None
    checksum: int | None = None  # None: there is nothing to verify
    snapshot: bool = False  # where a field of the row marks a snapshot, not the frame around it


class StreamedBook(Struct, frozen=True):
    """A channel of a snapshot and changes. Where there are sequences, each change names the sequence of the update before it.

    `verify` compares the book with a checksum, with the decimals of the instrument, or without one with those that were sent.
    """

    row: Any
    parse: Callable[[Any], Update]
    verify: Callable[[Book, Update, Instrument | None], bool] | None = None
    level: Callable[[Any], Level] | None = None  # reads a level that is not price and size in text; raises ValueError
    depth: Callable[[ExchangeOptions], int] | None = None  # levels of a side, where no message removes the levels beyond

    def open(self, market: Market) -> ChannelState:
        book = StreamedBookState(market, self)
        return ChannelState(book.feed, book.lost, book.tick)


class StreamedBookState:
    """One instrument's book: waiting for a snapshot, or correct. A broken book is never written."""

    def __init__(self, market: Market, spec: StreamedBook) -> None:
        options = market.options
        self._exchange = market.exchange
        self._spec = spec
        self._instrument = market.instrument
        self._depth = None if spec.depth is None else spec.depth(options)
        self._resubscribe, self._resubscribed = market.resubscribe, market.resubscribed
        self._sampled = SampledBook(market.instrument.id, options.book_depth, options.book_interval, options.writer)
        self._sequence: int | None = None
        self._time: int | None = None  # of the last update since the snapshot
        self._alone_at = NEVER  # when a state without a time is written with ours
        self._mismatches = 0
        self._relisted = False

    def feed(self, row: Any, received_at: int, snapshot: bool) -> Sequence[Output]:
        """A snapshot or a change. Raises ValueError."""
        spec = self._spec
        update = spec.parse(row)
        if update.time is not None and update.time > received_at + AHEAD:
            raise ahead(update.time, received_at)
        if snapshot or update.snapshot:
            return self._begin(update, received_at)
        read = spec.level
        bids = check_levels(update.bids) if read is None else [read(level) for level in update.bids]
        asks = check_levels(update.asks) if read is None else [read(level) for level in update.asks]
        book = self._sampled.book
        if book is None:
            return ()  # a change from before the new snapshot
        if update.previous != self._sequence:
            return self._broken("sequence", update.time, received_at)
        self._sequence = update.sequence
        if update.time is not None:
            self._time = max(update.time, self._time or 0)
        out: list[Output] = [*self._sampled.due(received_at if self._time is None else self._time)]
        if not bids and not asks:
            return out  # an empty change is a heartbeat
        book.apply(bids, asks)
        return self._applied(book, update, received_at, out)

    def lost(self, now: int) -> Sequence[Output]:
        """A message could not be read: its changes are unknown, so the book is broken."""
        return self._broken("sequence", now, now)

    def tick(self, now: int) -> Sequence[Output]:
        """On a clock tick: the state, if it is due."""
        out = self._sampled.idle(now)
        if now < self._alone_at:
            return out
        self._alone_at = NEVER
        return [*out, *self._sampled.applied(None, now, self._sequence)]

    def _begin(self, update: Update, received_at: int) -> list[Output]:
        bids, asks, rejected = good_sides(self._exchange, update.bids, update.asks, self._spec.level or good_level)
        out: list[Output] = [*self._sampled.due(received_at if update.time is None else update.time), *rejected]
        if self._sampled.book is not None and update.sequence is None and self._spec.verify is None:
            out += self._sampled.broken("sequence", received_at)  # not requested, and nothing shows what was lost before it
        book = self._sampled.book = Book()
        book.apply(bids, asks)
        self._sequence, self._time, self._alone_at = update.sequence, update.time, NEVER
        return self._applied(book, update, received_at, out, fresh=True)

    def _applied(self, book: Book, update: Update, received_at: int, out: list[Output], *, fresh: bool = False) -> list[Output]:
        if self._depth is not None:
            book.bids.truncate(self._depth)
            book.asks.truncate(self._depth)
        if self._spec.verify is not None and update.checksum is not None and not self._agrees(book, update, fresh, out):
            return out + self._broken("checksum", update.time, received_at)
        if self._time is not None:
            self._alone_at = NEVER
            out += self._sampled.applied(self._time, received_at, update.sequence)
        elif book.crossed():
            out += self._sampled.broken("crossed", received_at)
        else:
            self._alone_at = min(self._alone_at, received_at + SETTLE)
        if self._sampled.book is None:  # it was crossed
            return [*out, *self._resubscribe(received_at)]
        if fresh:
            self._resubscribed()
        return out

    def _agrees(self, book: Book, update: Update, fresh: bool, out: list[Output]) -> bool:
        """Whether the book has the update's checksum. One that fails with the decimals of the listing asks for the listing.

        After MAX_MISMATCHES on fresh snapshots the checksum is no longer verified.
        """
        verify, what = self._spec.verify, f"{self._exchange}: {self._instrument.symbol}: the checksum of the book"
        if verify is None or self._mismatches >= MAX_MISMATCHES:
            return True
        if verify(book, update, self._instrument):
            self._mismatches = 0
            return True
        if verify(book, update, None):
            if not self._relisted:
                out.append(Relist(f"{what} fails with the decimals of the listing"))
            self._mismatches, self._relisted = 0, True
            return True
        if not fresh:
            return False
        self._mismatches += 1
        if self._mismatches < MAX_MISMATCHES:
            out.append(Relist(f"{what} fails"))
            return False
        message = f"{what} fails on {MAX_MISMATCHES} fresh snapshots: it is stored unverified"
        out += (Malformed(str(update.checksum).encode(), "checksum", message), Relist(message))
        return True

    def _broken(self, reason: str, time: int | None, now: int) -> list[Output]:
        # a state that is due is not written: the lost change may have been before its tick
        self._alone_at = NEVER
        return [*self._sampled.broken(reason, now if time is None else time), *self._resubscribe(now)]
