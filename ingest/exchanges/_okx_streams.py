"""What each subscription to OKX remembers, and the records that come out of it.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel

The rule of the book: an update follows if its `prevSeqId` is the `seqId` that we have, and only then. A `seqId` below its own
`prevSeqId` is the counter's reset after maintenance, not a hole; the chain goes on from it. `checksum` is always 0 since June 2026.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any, Literal, Protocol

import msgspec
from msgspec import Struct

from ingest.marketdata.order_book import Book, Hole, Resync, SampledBook, SampledQuote
from ingest.protocol.decode import is_number
from ingest.protocol.exchange import Options
from ingest.protocol.session import Gap, Output, Send
from ingest.records import SECOND, Candle, Instrument, Quote, Trade

CHECKED_LEVELS = 25
RESUBSCRIBE_PAUSE = 30 * SECOND  # 480 requests an hour are allowed on a connection
MILLISECOND = 1000


class TradeRow(Struct, frozen=True):
    tradeId: str  # noqa: N815, OKX's name
    px: str
    sz: str
    side: Literal["buy", "sell"]  # the taker's
    ts: str


class BookRow(Struct, frozen=True):
    bids: list[list[str]]  # price, size, a dead field, number of orders
    asks: list[list[str]]
    ts: str
    seqId: int | None = None  # noqa: N815
    prevSeqId: int | None = None  # noqa: N815
    checksum: int | None = None


class QuoteRow(Struct, frozen=True):
    """A side that is empty has empty strings."""

    bidPx: str  # noqa: N815
    bidSz: str  # noqa: N815
    askPx: str  # noqa: N815
    askSz: str  # noqa: N815
    ts: str


BarRow = tuple[str, str, str, str, str, str, str, str, str]  # time, open, high, low, close, volume, of quote, of quote, confirmed


class Shape:
    """How the rows of one channel are decoded: all at once, or one by one where some row is bad."""

    def __init__(self, row: Any) -> None:
        self.rows = msgspec.json.Decoder(list[row]).decode
        self.row = msgspec.json.Decoder(row).decode


class Stream(Protocol):
    """One channel of one instrument. `feed` raises ValueError where a value is none."""

    shape: Shape

    def feed(self, row: Any, received_at: int, *, snapshot: bool) -> Sequence[Output]: ...

    def lost(self, now: int) -> Sequence[Output]:
        """A message for this subscription could not be read."""

    def tick(self, now: int) -> Sequence[Output]: ...


class Trades:
    """`trades-all` has one row per fill and dense ids, so a jump is a hole; `trades` merges the fills of one order, ids jump."""

    shape = Shape(TradeRow)

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._instrument_id = instrument.id
        self._dense = options.trade_kind == "trades-all"
        self._last: Trade | None = None

    def feed(self, row: TradeRow, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        trade = to_trade(row, self._instrument_id, received_at)
        last = self._last
        if last is not None and trade.trade_id <= last.trade_id:
            return (trade,)
        self._last = trade
        if last is None or not self._dense or trade.trade_id == last.trade_id + 1:
            return (trade,)
        first_id, last_id = last.trade_id + 1, trade.trade_id - 1
        return (Gap(self._instrument_id, "trades", "sequence", last.time, trade.time, first_id, last_id), trade)

    def lost(self, now: int) -> Sequence[Output]:
        return ()  # the next id tells

    def tick(self, now: int) -> Sequence[Output]:
        return ()


class Candles:
    """The running bar is sent again and again; it is stored once it is confirmed."""

    shape = Shape(BarRow)

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id

    def feed(self, row: BarRow, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        candle = to_candle(row, self._instrument_id, received_at, "ws")
        return () if candle is None else (candle,)

    def lost(self, now: int) -> Sequence[Output]:
        return ()

    def tick(self, now: int) -> Sequence[Output]:
        return ()


class Books:
    """The 400 best levels; a hole in the chain drops the book and subscribes anew."""

    shape = Shape(BookRow)

    def __init__(self, instrument: Instrument, options: Options, resubscribe: tuple[Send, Send]) -> None:
        self._instrument_id = instrument.id
        self._sampled = SampledBook(instrument.id, options.book_depth, options.book_interval)
        self._sequence: int | None = None
        self._resync = Resync(RESUBSCRIBE_PAUSE)
        self._resubscribe = resubscribe

    def feed(self, row: BookRow, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        time = to_micros(row.ts)
        check_levels(row.bids, row.asks)
        if self._sampled.book is None and not snapshot:
            return ()  # what was on its way before the new snapshot
        if not snapshot and row.prevSeqId != self._sequence:
            return self._broken("sequence", time, received_at)
        before = self._sampled.due(time)
        if not snapshot and row.seqId is not None and not row.bids and not row.asks:
            self._sequence = row.seqId
            return before  # nothing changed: sent every minute or so, to say that the line is alive
        return self._apply(row, time, received_at, before, snapshot=snapshot)

    def _apply(self, row: BookRow, time: int, received_at: int, before: Sequence[Output], *, snapshot: bool) -> Sequence[Output]:
        if snapshot:
            self._resync.came()
            self._sampled.book = Book()
        book = self._sampled.book or Book()
        book.apply(row.bids, row.asks)
        self._sequence = row.seqId
        if row.seqId is None and row.checksum and checksum(book) != row.checksum:
            return self._broken("checksum", time, received_at)
        out = [*before, *self._gap(self._sampled.applied(time, received_at, row.seqId))]
        return out if self._sampled.book is not None else [*out, *self._ask(self._resync.want(received_at))]

    def lost(self, now: int) -> Sequence[Output]:
        return self._broken("sequence", now, now)

    def tick(self, now: int) -> Sequence[Output]:
        return [*self._sampled.idle(now), *self._ask(self._resync.due(now))]

    def _broken(self, reason: str, event_time: int, now: int) -> list[Output]:
        # a state that was due is not written: what was missed may have come before its tick
        return [*self._gap(self._sampled.broken(reason, event_time)), *self._ask(self._resync.want(now))]

    def _gap(self, hole: Hole | None) -> list[Gap]:
        return [] if hole is None else [Gap(self._instrument_id, "book", *hole)]

    def _ask(self, now: bool) -> Iterable[Send]:
        return self._resubscribe if now else ()


class Quotes:
    """The latest best bid and ask, sampled on the grid of the exchange's time."""

    shape = Shape(QuoteRow)

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._instrument_id = instrument.id
        self._sampled = SampledQuote(options.quotes_interval)

    def feed(self, row: QuoteRow, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        time = to_micros(row.ts)
        bid_price, bid_size = _side(row.bidPx, row.bidSz)
        ask_price, ask_size = _side(row.askPx, row.askSz)
        quote = Quote(self._instrument_id, time, "", bid_price, bid_size, ask_price, ask_size, None, received_at)
        return self._sampled.seen(quote)

    def lost(self, now: int) -> Sequence[Output]:
        self._sampled.lost()
        return ()

    def tick(self, now: int) -> Sequence[Output]:
        return self._sampled.idle(now)


def to_trade(row: TradeRow, instrument_id: int, received_at: int) -> Trade:
    if not (is_number(row.px) and is_number(row.sz)):
        raise ValueError(f"price {row.px!r}, size {row.sz!r}")
    return Trade(instrument_id, to_micros(row.ts), int(row.tradeId), row.px, row.sz, row.side, received_at)


def to_candle(row: BarRow, instrument_id: int, received_at: int, origin: str) -> Candle | None:
    """A closed bar; None for the running one. Spot: volume in base, the two after it in quote."""
    time, *digits, confirmed = row
    if not all(map(is_number, digits)):
        raise ValueError(f"bar {row}")
    if confirmed != "1":
        return None
    opened, high, low, close, volume, _, quote_volume = digits
    return Candle(
        instrument_id=instrument_id,
        interval="1m",
        time=to_micros(time),
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        quote_volume=quote_volume,
        trades_count=None,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        first_trade_id=None,
        last_trade_id=None,
        parts=1,
        origin=origin,
        received_at=received_at,
    )


def to_micros(milliseconds: str) -> int:
    if not milliseconds.isdecimal():
        raise ValueError(f"time {milliseconds!r}")
    return int(milliseconds) * MILLISECOND


def checksum(book: Book) -> int:
    """Signed CRC32 over the 25 best levels: bid and ask in turn, and where one side ends, the rest of the other."""
    pairs = zip_longest(book.bids.best(CHECKED_LEVELS), book.asks.best(CHECKED_LEVELS), fillvalue=())
    crc = crc32(":".join(chain.from_iterable(chain.from_iterable(pairs))).encode())
    return crc - (1 << 32) if crc >= 1 << 31 else crc


def check_levels(*sides: list[list[str]]) -> None:
    """Raises ValueError before anything of the message was applied."""
    for level in chain.from_iterable(sides):
        if len(level) < 2 or not (is_number(level[0]) and is_number(level[1])):
            raise ValueError(f"level {level}")


def _side(price: str, size: str) -> tuple[str, str] | tuple[None, None]:
    if not price or not size.strip("0."):
        return (None, None)
    if not (is_number(price) and is_number(size)):
        raise ValueError(f"price {price!r}, size {size!r}")
    return (price, size)
