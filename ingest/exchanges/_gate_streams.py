"""What each subscription to Gate remembers, and the records that come out of it.

https://www.gate.com/docs/developers/apiv4/ws/en/#public-trades-channel

What is easily got wrong: in a bar `v` is the volume in quote and `a` that in base. The differences of a book are those of its 100
best levels, so what falls out of them is no longer true; and now and then `full` says that a message is the whole book.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec import Struct, field

from ingest.marketdata.joined import Diff, JoinedBook, Snapshot
from ingest.marketdata.order_book import SampledQuote
from ingest.protocol.decode import UNREADABLE, Number, is_number, malformed
from ingest.protocol.exchange import Options
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Gap, Output
from ingest.records import MINUTE, SECOND, Candle, Instrument, Quote, Trade

MILLISECOND = 1000
LEVELS = 100  # of a snapshot, and of the differences that come every 100 ms


class TradeRow(Struct, frozen=True):
    """`side` is the taker's. `id_market` counts the fills of one market; before 2025 there was only `id`, which counts all."""

    id: int
    create_time_ms: str  # "1786539952742.901000"
    side: str
    amount: str
    price: str
    id_market: int | None = None
    range: str = ""  # "first-last": the fills of one market that this message stands for


class Bar(Struct, frozen=True):
    """A bar so far; without `closed` in what was recorded before 2024."""

    time: str = field(name="t")  # seconds
    open: Number = field(name="o")
    high: Number = field(name="h")
    low: Number = field(name="l")
    close: Number = field(name="c")
    quote_volume: Number = field(name="v")
    volume: Number | None = field(name="a", default=None)
    closed: bool = field(name="w", default=False)


class BookRow(Struct, frozen=True):
    time_ms: int = field(name="t")
    first: int = field(name="U")
    last: int = field(name="u")
    bids: list[tuple[Number, Number]] | None = field(name="b")
    asks: list[tuple[Number, Number]] | None = field(name="a")
    full: bool = False


class BookAnswer(Struct, frozen=True):
    """GET /spot/order_book with_id=true."""

    id: int
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]


class QuoteRow(Struct, frozen=True):
    """A side that is empty has empty strings."""

    time_ms: int = field(name="t")
    update: int = field(name="u")
    bid_price: str = field(name="b")
    bid_size: str = field(name="B")
    ask_price: str = field(name="a")
    ask_size: str = field(name="A")


_decode_trade = msgspec.json.Decoder(TradeRow).decode
_decode_bar = msgspec.json.Decoder(Bar).decode
_decode_book = msgspec.json.Decoder(BookRow).decode
_decode_answer = msgspec.json.Decoder(BookAnswer).decode
_decode_quote = msgspec.json.Decoder(QuoteRow).decode


class Stream(Protocol):
    """One channel of one instrument. `feed` raises one of UNREADABLE, or ValueError where a value is none."""

    def feed(self, result: bytes, received_at: int) -> Sequence[Output]: ...

    def lost(self) -> None:
        """A message for this subscription could not be read."""

    def tick(self, now: int) -> Sequence[Output]: ...


class Trades:
    """The ids of one market are dense, so a jump is a hole; what was sent again is yielded again."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id
        self._last: Trade | None = None

    def feed(self, result: bytes, received_at: int) -> Sequence[Output]:
        row = _decode_trade(result)
        trade = to_trade(row, self._instrument_id, received_at)
        last = self._last
        if last is not None and trade.trade_id <= last.trade_id:
            return (trade,)
        self._last = trade
        first = first_of(row)
        if last is None or row.id_market is None or first <= last.trade_id + 1:
            return (trade,)
        return (Gap(self._instrument_id, "trades", "sequence", last.time, trade.time, last.trade_id + 1, first - 1), trade)

    def lost(self) -> None:
        """The next id tells."""

    def tick(self, now: int) -> Sequence[Output]:
        return ()


class Candles:
    """The running bar is sent every two seconds, of an empty minute too. "`true` may be missing", says the documentation of the
    closed flag: then the bar is a hole, and REST fills it.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id
        self._next_time: int | None = None

    def feed(self, result: bytes, received_at: int) -> Sequence[Output]:
        bar = _decode_bar(result)
        if not bar.closed:
            return ()
        candle = to_candle(bar, self._instrument_id, received_at, "ws")
        missing = self._next_time
        self._next_time = max(candle.time + MINUTE, missing or 0)
        if missing is None or candle.time <= missing:
            return (candle,)
        return (Gap(self._instrument_id, "candles", "sequence", missing, candle.time), candle)

    def lost(self) -> None:
        """The next bar tells."""

    def tick(self, now: int) -> Sequence[Output]:
        return ()


class Books:
    """Differences every 100 ms, joined to a snapshot of REST."""

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._symbol = instrument.symbol
        self._url = f"{options.rest_url}/api/v4/spot/order_book?currency_pair={instrument.symbol}&limit={LEVELS}&with_id=true"
        self._book = JoinedBook(instrument.id, options, levels=LEVELS, keep=LEVELS)

    def feed(self, result: bytes, received_at: int) -> Sequence[Output]:
        row = _decode_book(result)
        diff = Diff(row.time_ms * MILLISECOND, row.first, row.last, row.bids or (), row.asks or ())
        out = self._book.whole(diff, received_at) if row.full else self._book.feed(diff, received_at)
        return [*out, *self._ask(received_at)]

    def answer(self, response: Response, now: int) -> Sequence[Output]:
        try:
            answer = _decode_answer(response.body)
        except UNREADABLE as error:
            return [malformed(response.body, error), *self._book.answer(None, now)]
        return self._book.answer(Snapshot(answer.id, answer.bids, answer.asks), now)

    def lost(self) -> None:
        """The next one breaks the sequence."""

    def tick(self, now: int) -> Sequence[Output]:
        return [*self._book.idle(now), *self._ask(now)]

    def _ask(self, now: int) -> Sequence[Request]:
        return [Request(self._url, tag=self._symbol)] if self._book.wants(now) else []


class Quotes:
    """The latest best bid and ask, sampled on the grid of the exchange's time."""

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._instrument_id = instrument.id
        self._sampled = SampledQuote(options.quotes_interval)

    def feed(self, result: bytes, received_at: int) -> Sequence[Output]:
        row = _decode_quote(result)
        time = row.time_ms * MILLISECOND
        bid_price, bid_size = _side(row.bid_price, row.bid_size)
        ask_price, ask_size = _side(row.ask_price, row.ask_size)
        quote = Quote(self._instrument_id, time, "", bid_price, bid_size, ask_price, ask_size, row.update, received_at)
        return self._sampled.seen(quote)

    def lost(self) -> None:
        self._sampled.lost()

    def tick(self, now: int) -> Sequence[Output]:
        return self._sampled.idle(now)


def first_of(row: TradeRow) -> int:
    """The first fill of one market that a message stands for."""
    number = row.id if row.id_market is None else row.id_market
    first = row.range.partition("-")[0]
    return min(number, int(first)) if first.isdecimal() else number


def to_trade(row: TradeRow, instrument_id: int, received_at: int) -> Trade:
    """The time is cut to the millisecond: REST promises no more. Raises ValueError."""
    milliseconds = row.create_time_ms.partition(".")[0]
    if not (milliseconds.isdecimal() and is_number(row.price) and is_number(row.amount)) or row.side not in ("buy", "sell"):
        raise ValueError(f"time {row.create_time_ms!r}, price {row.price!r}, size {row.amount!r}, side {row.side!r}")
    number = row.id if row.id_market is None else row.id_market
    return Trade(instrument_id, int(milliseconds) * MILLISECOND, number, row.price, row.amount, row.side, received_at)


def to_candle(bar: Bar, instrument_id: int, received_at: int, origin: str) -> Candle:
    """Raises ValueError."""
    if not bar.time.isdecimal() or bar.volume is None:
        raise ValueError(f"bar {bar}")
    return Candle(
        instrument_id=instrument_id,
        interval="1m",
        time=int(bar.time) * SECOND,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        quote_volume=bar.quote_volume,
        trades_count=None,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        first_trade_id=None,
        last_trade_id=None,
        parts=1,
        origin=origin,
        received_at=received_at,
    )


def _side(price: str, size: str) -> tuple[str, str] | tuple[None, None]:
    if not price or not size.strip("0."):
        return (None, None)
    if not (is_number(price) and is_number(size)):
        raise ValueError(f"price {price!r}, size {size!r}")
    return (price, size)
