"""An order book whose snapshot comes over the websocket; a broken one is mended by subscribing anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from ingest.marketdata.channels import ChannelState, Market
from ingest.marketdata.order_book import Book, SampledBook
from ingest.marketdata.synced_book import bad_levels
from ingest.marketdata.values import AHEAD, Level, ahead, check_levels, good_level, sift_levels
from ingest.protocol.decode import Malformed
from ingest.protocol.session import Output

MAX_MISMATCHES = 3  # fresh snapshots in a row whose checksum fails; then the checksum is no longer verified


class Update(Struct, frozen=True, gc=False):
    """A snapshot or a change, with its levels in any JSON. `previous` is the sequence that it follows."""

    time: int  # microseconds
    bids: Sequence[Any]
    asks: Sequence[Any]
    sequence: int | None = None
    previous: int | None = None
    checksum: int | None = None  # None: there is nothing to verify
    snapshot: bool = False  # where the row says it, and not the frame around it


def follows(update: Update, last: int | None) -> bool:
    """The usual rule: an update names the sequence of the one before it."""
    return update.previous == last


class StreamedBook(Struct, frozen=True):
    """A channel of a snapshot and its changes. `rule` says whether a change follows; `verify` compares the book with a checksum."""

    row: Any
    parse: Callable[[Any], Update]
    rule: Callable[[Update, int | None], bool] = follows
    verify: Callable[[Book, Update], bool] | None = None
    level: Callable[[Any], Level] | None = None  # reads a level that is not price and size in text; raises ValueError

    def open(self, market: Market) -> ChannelState:
        book = StreamedBookState(market, self)
        return ChannelState(book.feed, book.lost, book.tick)


class StreamedBookState:
    """One instrument's book: without a snapshot, or with one and right. A wrong book is never written."""

    def __init__(self, market: Market, spec: StreamedBook) -> None:
        options = market.options
        self._exchange = market.exchange
        self._spec = spec
        self._level = spec.level or good_level
        self._resubscribe, self._resubscribed = market.resubscribe, market.resubscribed
        self._sampled = SampledBook(market.instrument.id, options.book_depth, options.book_interval)
        self._sequence: int | None = None
        self._mismatches = 0

    def feed(self, row: Any, received_at: int, snapshot: bool) -> Sequence[Output]:
        """A snapshot or a change. Raises ValueError."""
        spec = self._spec
        update = spec.parse(row)
        if update.time > received_at + AHEAD:
            raise ahead(update.time, received_at)
        if snapshot or update.snapshot:
            return self._begin(update, received_at)
        read = spec.level
        bids = check_levels(update.bids) if read is None else [read(level) for level in update.bids]
        asks = check_levels(update.asks) if read is None else [read(level) for level in update.asks]
        book = self._sampled.book
        if book is None:
            return ()  # it was sent before the new snapshot
        if not spec.rule(update, self._sequence):
            return self._broken("sequence", update.time, received_at)
        out: list[Output] = [*self._sampled.due(update.time)]
        self._sequence = update.sequence
        if not bids and not asks:
            return out  # nothing changed: the exchange shows that the connection lives
        book.apply(bids, asks)
        return self._applied(book, update, received_at, out)

    def lost(self, now: int) -> Sequence[Output]:
        """A message could not be read: what it changed is not known."""
        return self._broken("sequence", now, now)

    def tick(self, now: int) -> Sequence[Output]:
        """The state after which nothing came."""
        return self._sampled.idle(now)

    def _begin(self, update: Update, received_at: int) -> list[Output]:
        (bids, bad_bids), (asks, bad_asks) = sift_levels(update.bids, self._level), sift_levels(update.asks, self._level)
        if (bad_bids and not bids) or (bad_asks and not asks):
            raise ValueError((bad_bids + bad_asks)[0])
        out: list[Output] = [*self._sampled.due(update.time), *bad_levels(self._exchange, bad_bids + bad_asks)]
        book = self._sampled.book = Book()
        book.apply(bids, asks)
        self._sequence = update.sequence
        return self._applied(book, update, received_at, out, fresh=True)

    def _applied(self, book: Book, update: Update, received_at: int, out: list[Output], *, fresh: bool = False) -> list[Output]:
        if self._spec.verify is not None and update.checksum is not None and not self._agrees(book, update, fresh, out):
            return out + self._broken("checksum", update.time, received_at)
        out += self._sampled.applied(update.time, received_at, update.sequence)
        if self._sampled.book is None:  # it was crossed
            return [*out, *self._resubscribe(received_at)]
        if fresh:
            self._resubscribed()
        return out

    def _agrees(self, book: Book, update: Update, fresh: bool, out: list[Output]) -> bool:
        """Whether the book has the update's checksum. One that keeps failing on fresh snapshots is no longer verified."""
        if self._mismatches >= MAX_MISMATCHES:
            return True
        if self._spec.verify is None or self._spec.verify(book, update):
            self._mismatches = 0
            return True
        self._mismatches += fresh
        if self._mismatches == MAX_MISMATCHES:
            message = f"{self._exchange}: the checksum fails on {MAX_MISMATCHES} fresh snapshots: the book is stored unverified"
            out.append(Malformed(str(update.checksum).encode(), "checksum", message))
        return False

    def _broken(self, reason: str, time: int, now: int) -> list[Output]:
        # a state that is due is not written: what was missed may have come before its tick
        return [*self._sampled.broken(reason, time), *self._resubscribe(now)]
