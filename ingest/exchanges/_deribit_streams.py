"""What each subscription to Deribit remembers, and the records that come out of it.

https://docs.deribit.com/#book-instrument_name-interval

Prices and sizes are JSON numbers: they are decoded to `Decimal`, which keeps the digits of the frame ("1000.0"), never to float.
The rule of the book: a change follows if its `prev_change_id` is the `change_id` that we have, and only then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from ingest.marketdata.forming_candle import FormingCandle
from ingest.marketdata.order_book import Book, Hole, Level, Resync, SampledBook, SampledQuote
from ingest.protocol.decode import is_number
from ingest.protocol.exchange import Options
from ingest.protocol.session import Gap, Output, Send
from ingest.records import SECOND, Candle, Instrument, Quote, Trade

MILLISECOND = 1000
BAR_GRACE = 5 * SECOND
RESUBSCRIBE_PAUSE = 30 * SECOND  # a subscription costs a tenth of the credits

Change = tuple[str, Decimal, Decimal]  # new, change or delete; price, amount


class TradeRow(Struct, frozen=True):
    """`trade_seq` counts the trades of one instrument, `trade_id` those of a currency, with its name in front of some."""

    trade_seq: int
    trade_id: str
    timestamp: int  # milliseconds
    price: Decimal
    amount: Decimal
    direction: Literal["buy", "sell"]  # the taker's


class BarRow(Struct, frozen=True):
    tick: int  # milliseconds
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal  # in base
    cost: Decimal  # in quote


class BookRow(Struct, frozen=True):
    timestamp: int
    change_id: int
    bids: list[Change]
    asks: list[Change]
    prev_change_id: int | None = None
    type: Literal["snapshot", "change"] = "change"


class QuoteRow(Struct, frozen=True):
    """A side that is empty has zeros, or null."""

    timestamp: int
    best_bid_price: Decimal | None
    best_bid_amount: Decimal | None
    best_ask_price: Decimal | None
    best_ask_amount: Decimal | None


_decode_trades = msgspec.json.Decoder(list[TradeRow]).decode
_decode_bar = msgspec.json.Decoder(BarRow).decode
_decode_book = msgspec.json.Decoder(BookRow).decode
_decode_quote = msgspec.json.Decoder(QuoteRow).decode


class Stream(Protocol):
    """One channel of one instrument. `feed` raises one of UNREADABLE, or ValueError where a value is none."""

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]: ...

    def lost(self, now: int) -> Sequence[Output]:
        """A message for this subscription could not be read."""

    def tick(self, now: int) -> Sequence[Output]: ...


class Trades:
    """`trade_seq` is dense, so a jump is a hole; what was sent again is yielded again."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id
        self._last: Trade | None = None

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]:
        trades = [to_trade(row, self._instrument_id, received_at) for row in _decode_trades(data)]
        return [output for trade in trades for output in self._follow(trade)]

    def lost(self, now: int) -> Sequence[Output]:
        return ()  # the next number tells

    def tick(self, now: int) -> Sequence[Output]:
        return ()

    def _follow(self, trade: Trade) -> Sequence[Output]:
        last = self._last
        if last is not None and trade.trade_id <= last.trade_id:
            return (trade,)
        self._last = trade
        if last is None or trade.trade_id == last.trade_id + 1:
            return (trade,)
        missing = last.trade_id + 1, trade.trade_id - 1
        return (Gap(self._instrument_id, "trades", "sequence", last.time, trade.time, *missing), trade)


class Candles:
    """A bar is sent while it changes."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id
        self._bar = FormingCandle(BAR_GRACE)

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]:
        return self._bar.seen(to_candle(_decode_bar(data), self._instrument_id, received_at, "ws"))

    def lost(self, now: int) -> Sequence[Output]:
        self._bar.lost()
        return ()

    def tick(self, now: int) -> Sequence[Output]:
        return self._bar.idle(now)


class Books:
    """All levels; a hole in the chain drops the book and subscribes anew."""

    def __init__(self, instrument: Instrument, options: Options, resubscribe: tuple[Send, Send]) -> None:
        self._instrument_id = instrument.id
        self._sampled = SampledBook(instrument.id, options.book_depth, options.book_interval)
        self._change_id: int | None = None
        self._resync = Resync(RESUBSCRIBE_PAUSE)
        self._resubscribe = resubscribe

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]:
        row = _decode_book(data)
        time, snapshot = row.timestamp * MILLISECOND, row.type == "snapshot"
        bids, asks = [_level(change) for change in row.bids], [_level(change) for change in row.asks]
        if self._sampled.book is None and not snapshot:
            return ()  # what was on its way before the new snapshot
        if not snapshot and row.prev_change_id != self._change_id:
            return self._broken(time, received_at)
        out: list[Output] = [*self._sampled.due(time)]
        if snapshot:
            self._resync.came()
            self._sampled.book = Book()
        book = self._sampled.book or Book()
        book.apply(bids, asks)
        self._change_id = row.change_id
        out += self._gap(self._sampled.applied(time, received_at, row.change_id))
        return out if self._sampled.book is not None else [*out, *self._ask(self._resync.want(received_at))]

    def lost(self, now: int) -> Sequence[Output]:
        return self._broken(now, now)

    def tick(self, now: int) -> Sequence[Output]:
        return [*self._sampled.idle(now), *self._ask(self._resync.due(now))]

    def _broken(self, event_time: int, now: int) -> list[Output]:
        # a state that was due is not written: what was missed may have come before its tick
        return [*self._gap(self._sampled.broken("sequence", event_time)), *self._ask(self._resync.want(now))]

    def _gap(self, hole: Hole | None) -> list[Gap]:
        return [] if hole is None else [Gap(self._instrument_id, "book", *hole)]

    def _ask(self, now: bool) -> Iterable[Send]:
        return self._resubscribe if now else ()


class Quotes:
    """The latest best bid and ask, sampled on the grid of the exchange's time."""

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._instrument_id = instrument.id
        self._sampled = SampledQuote(options.quotes_interval)

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]:
        row = _decode_quote(data)
        bid_price, bid_size = _side(row.best_bid_price, row.best_bid_amount)
        ask_price, ask_size = _side(row.best_ask_price, row.best_ask_amount)
        time = row.timestamp * MILLISECOND
        return self._sampled.seen(Quote(self._instrument_id, time, "", bid_price, bid_size, ask_price, ask_size, None, received_at))

    def lost(self, now: int) -> Sequence[Output]:
        self._sampled.lost()
        return ()

    def tick(self, now: int) -> Sequence[Output]:
        return self._sampled.idle(now)


def to_trade(row: TradeRow, instrument_id: int, received_at: int) -> Trade:
    """Raises ValueError."""
    price, size = to_digits(row.price), to_digits(row.amount)
    return Trade(
        instrument_id, row.timestamp * MILLISECOND, row.trade_seq, price, size, row.direction, received_at, native_id=row.trade_id
    )


def to_candle(row: BarRow, instrument_id: int, received_at: int, origin: str) -> Candle:
    """Raises ValueError."""
    return Candle(
        instrument_id=instrument_id,
        interval="1m",
        time=row.tick * MILLISECOND,
        open=to_digits(row.open),
        high=to_digits(row.high),
        low=to_digits(row.low),
        close=to_digits(row.close),
        volume=to_digits(row.volume),
        quote_volume=to_digits(row.cost),
        trades_count=None,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        first_trade_id=None,
        last_trade_id=None,
        parts=1,
        origin=origin,
        received_at=received_at,
    )


def to_digits(number: Decimal) -> str:
    """The digits of the frame, without exponent: 1e-7 is written 0.0000001. Raises ValueError for a sign or absurd size."""
    text = str(number)
    if is_number(text):
        return text
    if number.is_signed() or not number.is_finite() or abs(number.adjusted()) > 30:
        raise ValueError(f"{text} is not a price or size")
    return format(number, "f")


def _level(change: Change) -> Level:
    action, price, amount = change
    if action not in ("new", "change", "delete"):
        raise ValueError(f"level {action!r}")
    return to_digits(price), "0" if action == "delete" else to_digits(amount)


def _side(price: Decimal | None, size: Decimal | None) -> tuple[str, str] | tuple[None, None]:
    return (to_digits(price), to_digits(size)) if price and size else (None, None)
