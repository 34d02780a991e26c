"""What each subscription to KuCoin remembers, and the records that come out of it.

https://www.kucoin.com/docs-new/websocket-api/base-info/introduction

What is easily got wrong: a bar is time, open, **close, high, low**, volume, turnover, and no flag says that it is closed. A trade's
`sequence` only rises: fills share their counter with the orders of the book, so that a jump of it is no hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from ingest.marketdata.forming_candle import FormingCandle
from ingest.marketdata.joined import Diff, JoinedBook, Snapshot
from ingest.marketdata.order_book import Level, SampledQuote
from ingest.protocol.decode import UNREADABLE, Number, is_number, malformed
from ingest.protocol.exchange import Options
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Output
from ingest.records import SECOND, BookSnapshot, Candle, Instrument, Quote, Trade

MILLISECOND = 1000
LEVELS = 100  # of a snapshot that needs no key
KEPT_LEVELS = 4 * LEVELS  # differences come of all levels: those beyond the snapshot gather
BAR_GRACE = 5 * SECOND  # a bar is pushed up to two seconds after its last trade

RawBar = tuple[str, Number, Number, Number, Number, Number, Number]
BookLevel = tuple[Number, Number, str]  # price, size, sequence; price 0 where only the sequence went on


class TradeRow(Struct, frozen=True):
    """`side` is the taker's; `time` in nanoseconds, as text here and as a number in REST."""

    sequence: str
    price: str
    size: str
    side: str
    time: str | int


class BarRow(Struct, frozen=True):
    candles: RawBar


class Changes(Struct, frozen=True):
    bids: list[BookLevel]
    asks: list[BookLevel]


class BookRow(Struct, frozen=True):
    first: int = field(name="sequenceStart")
    last: int = field(name="sequenceEnd")
    changes: Changes
    time_ms: int | None = field(name="time", default=None)  # not in what was recorded before 2022


class BookAnswer(Struct, frozen=True):
    """GET /market/orderbook/level2_100, within its envelope."""

    sequence: str
    bids: list[tuple[Number, Number]] | None
    asks: list[tuple[Number, Number]] | None


class _Answer(Struct, frozen=True):
    data: BookAnswer


class QuoteRow(Struct, frozen=True):
    """A side that is empty is null."""

    sequence: str
    time_ms: int = field(name="time")
    bid_price: str | None = field(name="bestBid")
    bid_size: str | None = field(name="bestBidSize")
    ask_price: str | None = field(name="bestAsk")
    ask_size: str | None = field(name="bestAskSize")


_decode_trade = msgspec.json.Decoder(TradeRow).decode
_decode_bar = msgspec.json.Decoder(BarRow).decode
_decode_book = msgspec.json.Decoder(BookRow).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_quote = msgspec.json.Decoder(QuoteRow).decode


class Stream(Protocol):
    """One topic of one instrument. `feed` raises one of UNREADABLE, or ValueError where a value is none."""

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]: ...

    def lost(self) -> None:
        """A message for this subscription could not be read."""

    def tick(self, now: int) -> Sequence[Output]: ...


class Trades:
    """Every fill. What is missing cannot be told by the sequence."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]:
        return (to_trade(_decode_trade(data), self._instrument_id, received_at),)

    def lost(self) -> None:
        """Nothing would tell; the malformed frame itself is counted and kept."""

    def tick(self, now: int) -> Sequence[Output]:
        return ()


class Candles:
    """A bar is pushed while it changes. That of a minute without trades comes only before that of the next trade."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id
        self._bar = FormingCandle(BAR_GRACE)

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]:
        return self._bar.seen(to_candle(_decode_bar(data).candles, self._instrument_id, received_at, "ws"))

    def lost(self) -> None:
        self._bar.lost()

    def tick(self, now: int) -> Sequence[Output]:
        return self._bar.idle(now)


class Books:
    """Differences as they happen, joined to a snapshot of REST.

    Where no message says its time, the grid is that of our own clock, and the row names its writer.
    """

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._symbol = instrument.symbol
        self._url = f"{options.rest_url}/api/v1/market/orderbook/level2_{LEVELS}?symbol={instrument.symbol}"
        self._book = JoinedBook(instrument.id, options, levels=LEVELS, keep=KEPT_LEVELS)
        self._options = options
        self._writer = ""

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]:
        row = _decode_book(data)
        if row.time_ms is None:
            self._writer = self._options.writer
        time = received_at if row.time_ms is None else row.time_ms * MILLISECOND
        diff = Diff(time, row.first, row.last, _levels(row.changes.bids), _levels(row.changes.asks))
        return [*self._named(self._book.feed(diff, received_at)), *self._ask(received_at)]

    def answer(self, response: Response, now: int) -> Sequence[Output]:
        try:
            answer = _decode_answer(response.body).data
        except UNREADABLE as error:
            return [malformed(response.body, error), *self._named(self._book.answer(None, now))]
        snapshot = Snapshot(int(answer.sequence), answer.bids or (), answer.asks or ()) if answer.sequence.isdecimal() else None
        return self._named(self._book.answer(snapshot, now))

    def lost(self) -> None:
        """The next one breaks the sequence."""

    def tick(self, now: int) -> Sequence[Output]:
        return [*self._named(self._book.idle(now)), *self._ask(now)]

    def _named(self, said: Sequence[Output]) -> Sequence[Output]:
        if not self._writer:
            return said
        return [replace(one, writer=self._writer) if isinstance(one, BookSnapshot) else one for one in said]

    def _ask(self, now: int) -> Sequence[Request]:
        return [Request(self._url, weight=2, tag=self._symbol)] if self._book.wants(now) else []


class Quotes:
    """The latest best bid and ask, sampled on the grid of the exchange's time."""

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._instrument_id = instrument.id
        self._sampled = SampledQuote(options.quotes_interval)

    def feed(self, data: bytes, received_at: int) -> Sequence[Output]:
        row = _decode_quote(data)
        time = row.time_ms * MILLISECOND
        bid_price, bid_size = _side(row.bid_price, row.bid_size)
        ask_price, ask_size = _side(row.ask_price, row.ask_size)
        quote = Quote(self._instrument_id, time, "", bid_price, bid_size, ask_price, ask_size, int(row.sequence), received_at)
        return self._sampled.seen(quote)

    def lost(self) -> None:
        self._sampled.lost()

    def tick(self, now: int) -> Sequence[Output]:
        return self._sampled.idle(now)


def to_trade(row: TradeRow, instrument_id: int, received_at: int) -> Trade:
    """Raises ValueError."""
    nanoseconds = str(row.time)
    numbers = row.sequence.isdecimal() and nanoseconds.isdecimal() and is_number(row.price) and is_number(row.size)
    if not numbers or row.side not in ("buy", "sell"):
        raise ValueError(f"sequence {row.sequence!r}, time {row.time!r}, price {row.price!r}, size {row.size!r}, side {row.side!r}")
    return Trade(instrument_id, int(nanoseconds) // 1000, int(row.sequence), row.price, row.size, row.side, received_at)


def to_candle(bar: RawBar, instrument_id: int, received_at: int, origin: str) -> Candle:
    """Raises ValueError."""
    time, opened, close, high, low, volume, quote_volume = bar
    if not time.isdecimal():
        raise ValueError(f"bar {bar}")
    return Candle(
        instrument_id=instrument_id,
        interval="1m",
        time=int(time) * SECOND,
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


def _levels(levels: list[BookLevel]) -> list[Level]:
    """By their sequence: of two changes of one price the later one holds."""
    return [level for level in sorted(levels, key=lambda level: int(level[2])) if level[0].strip("0.")]


def _side(price: str | None, size: str | None) -> tuple[str, str] | tuple[None, None]:
    if not price or not size or not size.strip("0."):
        return (None, None)
    if not (is_number(price) and is_number(size)):
        raise ValueError(f"price {price!r}, size {size!r}")
    return (price, size)
