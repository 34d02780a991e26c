"""What each subscription to Kraken remembers, and the records that come out of it.

https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2 for the book's rule: there are no sequence numbers, only a CRC32
over the ten best levels, and a level that falls out of the subscribed depth is never removed by a message.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Protocol

from ingest.exchanges._kraken_frames import BarRow, BookRow, Level, QuoteRow, TradeRow, to_digits, to_micros
from ingest.marketdata.order_book import Book, Resync, SampledBook, SampledQuote
from ingest.protocol.exchange import Options
from ingest.protocol.session import Gap, Output, Send
from ingest.records import MINUTE, SECOND, Candle, Instrument, Quote, Trade

DEPTHS = (10, 25, 100, 500, 1000)
CHECKED_LEVELS = 10
CLOSING_GRACE = 5 * SECOND
RESUBSCRIBE_PAUSE = 15 * SECOND  # a book that breaks again and again must not become a storm of messages


class Stream(Protocol):
    """One channel of one instrument. `feed` and `lost` say what comes of it; `feed` raises ValueError for values out of range."""

    def feed(self, row: Any, received_at: int, *, snapshot: bool) -> Sequence[Output]: ...

    def lost(self, now: int) -> Sequence[Output]:
        """A message for this subscription could not be read."""

    def tick(self, now: int) -> Sequence[Output]: ...


class Clock:
    """The exchange's clock, from the times at which it says that it sent a message; the fastest message tells it best."""

    def __init__(self) -> None:
        self._lag: int | None = None

    def saw(self, sent_at: int, received_at: int) -> None:
        lag = received_at - sent_at
        self._lag = lag if self._lag is None else min(self._lag, lag)

    def at(self, now: int) -> int | None:
        """The exchange's time at our `now`; None before it said anything."""
        return None if self._lag is None else now - self._lag


class Trades:
    """Ids are dense, so a jump is a hole. The snapshot repeats old trades: they are yielded, the key removes them."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id
        self._last: Trade | None = None

    def feed(self, row: TradeRow, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        trade = Trade(
            self._instrument_id,
            to_micros(row.timestamp),
            row.trade_id,
            to_digits(row.price),
            to_digits(row.qty),
            row.side,
            received_at,
        )
        last = self._last
        if last is None or trade.trade_id == last.trade_id + 1:
            self._last = trade
            return (trade,)
        if trade.trade_id <= last.trade_id:
            return (trade,)
        self._last = trade
        first_id, last_id = last.trade_id + 1, trade.trade_id - 1
        return (Gap(self._instrument_id, "trades", "sequence", last.time, trade.time, first_id, last_id), trade)

    def lost(self, now: int) -> Sequence[Output]:
        return ()  # the next id tells

    def tick(self, now: int) -> Sequence[Output]:
        return ()


class Candles:
    """No message says that a bar is closed: it is once a later bar shows, or once its minute is over by the exchange's clock."""

    def __init__(self, instrument: Instrument, clock: Clock) -> None:
        self._instrument_id = instrument.id
        self._clock = clock
        self._running: Candle | None = None
        self._emitted = False  # whether the latest bar was already taken for closed

    def feed(self, row: BarRow, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        if row.interval != 1:
            raise ValueError(f"a bar of {row.interval} minutes; subscribed to 1")
        bar = to_candle(row, self._instrument_id, received_at)
        before, emitted = self._running, self._emitted
        if before is not None and bar.time < before.time:
            return (bar,)  # an older bar of the snapshot, or a late correction: closed either way
        self._running = bar
        if before is not None and bar.time == before.time:
            return (bar,) if emitted else ()
        self._emitted = False
        return () if before is None or emitted else (before,)

    def lost(self, now: int) -> Sequence[Output]:
        return ()  # the next message holds the whole bar

    def tick(self, now: int) -> Sequence[Output]:
        time = self._clock.at(now)
        if self._running is None or self._emitted or time is None or time < self._running.time + MINUTE + CLOSING_GRACE:
            return ()
        self._emitted = True
        return (self._running,)


class Books:
    """The book at the subscribed depth, checked after every message; a mismatch drops it and subscribes anew."""

    def __init__(self, instrument: Instrument, options: Options, resubscribe: tuple[Send, Send]) -> None:
        self._instrument_id = instrument.id
        self._depth = subscribed_depth(options)
        self._decimals = decimals(instrument.price_step), decimals(instrument.size_step)
        self._sampled = SampledBook(instrument.id, options.book_depth, options.book_interval)
        self._resync = Resync(RESUBSCRIBE_PAUSE)
        self._resubscribe = resubscribe

    def feed(self, row: BookRow, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        time = None if row.timestamp is None else to_micros(row.timestamp)
        bids, asks = _levels(row.bids), _levels(row.asks)
        before = [] if time is None else self._sampled.due(time)
        if snapshot:
            self._sampled.book = Book()
            self._resync.came()
        if self._sampled.book is None:
            return ()  # what was on its way before the new snapshot
        self._apply(self._sampled.book, bids, asks)
        if checksum(self._sampled.book, *self._decimals) != row.checksum:
            return self._broken("checksum", time or received_at, received_at)
        if time is None:
            return before  # an old snapshot: the next update gives the state its time
        out: list[Output] = [*before, *self._gap(self._sampled.applied(time, received_at))]
        return out if self._sampled.book is not None else [*out, *self._ask(self._resync.want(received_at))]

    def lost(self, now: int) -> Sequence[Output]:
        return self._broken("sequence", now, now)

    def tick(self, now: int) -> Sequence[Output]:
        return [*self._sampled.idle(now), *self._ask(self._resync.due(now))]

    def _apply(self, book: Book, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
        book.apply(bids, asks)
        book.bids.truncate(self._depth)
        book.asks.truncate(self._depth)

    def _broken(self, reason: str, event_time: int, now: int) -> list[Output]:
        # a state that was due is not written: what was missed may have come before its tick
        return [*self._gap(self._sampled.broken(reason, event_time)), *self._ask(self._resync.want(now))]

    def _gap(self, gaps: Sequence[Gap]) -> list[Gap]:
        return [*gaps]

    def _ask(self, now: bool) -> Iterable[Send]:
        return self._resubscribe if now else ()


class Quotes:
    """The latest best bid and ask, sampled. Where a row has no time, the grid is that of our own clock, and the writer is named."""

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._instrument_id = instrument.id
        self._writer = options.writer
        self._sampled = SampledQuote(options.quotes_interval)

    def feed(self, row: QuoteRow, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        time = received_at if row.timestamp is None else to_micros(row.timestamp)
        writer = self._writer if row.timestamp is None else ""
        bid_price, bid_size = _side(row.bid, row.bid_qty)
        ask_price, ask_size = _side(row.ask, row.ask_qty)
        quote = Quote(self._instrument_id, time, writer, bid_price, bid_size, ask_price, ask_size, None, received_at)
        return self._sampled.seen(quote)

    def lost(self, now: int) -> Sequence[Output]:
        self._sampled.lost()
        return ()

    def tick(self, now: int) -> Sequence[Output]:
        return self._sampled.idle(now)


def to_candle(row: BarRow, instrument_id: int, received_at: int) -> Candle:
    return Candle(
        instrument_id=instrument_id,
        interval="1m",
        time=to_micros(row.interval_begin),
        open=to_digits(row.open),
        high=to_digits(row.high),
        low=to_digits(row.low),
        close=to_digits(row.close),
        volume=to_digits(row.volume),
        quote_volume=None,
        trades_count=row.trades,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        first_trade_id=None,
        last_trade_id=None,
        parts=1,
        origin="ws",
        received_at=received_at,
    )


def subscribed_depth(options: Options) -> int:
    """The smallest depth that Kraken offers and that covers the one to be stored."""
    return next((depth for depth in DEPTHS if depth >= options.book_depth), DEPTHS[-1])


def decimals(step: str | None) -> int:
    """How many digits after the point the exchange prints: "0.10" -> 2, None -> 0."""
    return len((step or "").partition(".")[2])


def checksum(book: Book, price_decimals: int, size_decimals: int) -> int:
    """CRC32 over the ten best asks, then the ten best bids, as the exchange computes it."""
    levels = book.asks.best(CHECKED_LEVELS) + book.bids.best(CHECKED_LEVELS)
    return crc32("".join(_bare(price, price_decimals) + _bare(size, size_decimals) for price, size in levels).encode())


def _bare(digits: str, places: int) -> str:
    # padded because a JSON number may have lost its trailing zeros; never cut, because listings lag behind the frames
    whole, _, fraction = digits.partition(".")
    return (whole + fraction.ljust(places, "0")).lstrip("0")


def _levels(levels: list[Level]) -> list[tuple[str, str]]:
    return [(to_digits(level.price), to_digits(level.qty)) for level in levels]


def _side(price: Decimal, size: Decimal) -> tuple[str, str] | tuple[None, None]:
    return (to_digits(price), to_digits(size)) if size else (None, None)
