"""What each Binance stream remembers, and the records that come out of its frames.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams

A frame is decoded once, envelope and all: trades come by the hundred thousand, and this file is where their time goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct, field
from msgspec.json import Decoder

from ingest.exchanges._binance_book import Depth, Diff
from ingest.marketdata.order_book import SampledQuote
from ingest.protocol.decode import UNREADABLE, Malformed, Number, is_number, malformed
from ingest.protocol.exchange import Options
from ingest.protocol.http import Response
from ingest.protocol.session import Gap, Output
from ingest.records import MINUTE, Candle, Instrument, Quote, Trade

Event = TypeVar("Event")


class Frame(Struct, Generic[Event], gc=False):
    """The envelope of a combined stream; its other member, `stream`, was read by the session."""

    data: Event


class TradeEvent(Struct, gc=False):
    """`trade`. `a` and `b` are order ids here."""

    id: int = field(name="t")
    price: str = field(name="p")
    size: str = field(name="q")
    time_ms: int = field(name="T")
    buyer_is_maker: bool = field(name="m")


class AggTradeEvent(Struct, gc=False):
    """`aggTrade`: fills of one taker order at one price, with an id of their own."""

    id: int = field(name="a")
    price: str = field(name="p")
    size: str = field(name="q")
    time_ms: int = field(name="T")
    buyer_is_maker: bool = field(name="m")


class Kline(Struct, gc=False):
    """A bar so far; `closed` when nothing will be added. The trade ids are -1 where the minute is empty."""

    time_ms: int = field(name="t")
    first_id: int = field(name="f")
    last_id: int = field(name="L")
    open: Number = field(name="o")
    high: Number = field(name="h")
    low: Number = field(name="l")
    close: Number = field(name="c")
    volume: Number = field(name="v")
    quote_volume: Number = field(name="q")
    count: int = field(name="n")
    taker_buy_volume: Number = field(name="V")
    taker_buy_quote_volume: Number = field(name="Q")
    closed: bool = field(name="x")


class KlineEvent(Struct, gc=False):
    kline: Kline = field(name="k")


class TickerEvent(Struct, gc=False):
    """`bookTicker`, which says no time."""

    update: int = field(name="u")
    bid_price: Number = field(name="b")
    bid_size: Number = field(name="B")
    ask_price: Number = field(name="a")
    ask_size: Number = field(name="A")


_decode_trade = Decoder(Frame[TradeEvent]).decode
_decode_agg_trade = Decoder(Frame[AggTradeEvent]).decode
_decode_kline = Decoder(Frame[KlineEvent]).decode
_decode_ticker = Decoder(Frame[TickerEvent]).decode
_decode_diff = Decoder(Frame[Diff]).decode


class Stream(Protocol):
    """One channel of one instrument."""

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]: ...

    def tick(self, now: int) -> Sequence[Output]: ...


class Trades:
    """Ids are dense, so a jump is a hole. An older id was sent again, after a reconnection: it is yielded, the key removes it."""

    def __init__(self, instrument: Instrument, trade_kind: str) -> None:
        self._instrument_id = instrument.id
        self._decode = _decode_agg_trade if trade_kind == "aggTrade" else _decode_trade
        self._last: Trade | None = None
        self._next_id = 0

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            event = self._decode(frame).data
        except UNREADABLE as error:
            return (malformed(frame, error),)
        price, size = event.price, event.size
        if not (is_number(price) and is_number(size)):
            return (Malformed(frame, "value", f"binance: price {price!r} and size {size!r} must be plain numbers"),)
        side = "sell" if event.buyer_is_maker else "buy"
        trade = Trade(self._instrument_id, event.time_ms * 1000, event.id, price, size, side, received_at)
        if event.id != self._next_id:
            return self._jumped(trade)
        self._last, self._next_id = trade, event.id + 1
        return (trade,)

    def tick(self, now: int) -> Sequence[Output]:
        return ()

    def _jumped(self, trade: Trade) -> Sequence[Output]:
        last = self._last
        if last is not None and trade.trade_id <= last.trade_id:
            return (trade,)
        self._last, self._next_id = trade, trade.trade_id + 1
        if last is None:
            return (trade,)
        first_id, last_id = last.trade_id + 1, trade.trade_id - 1
        return (Gap(self._instrument_id, "trades", "sequence", last.time, trade.time, first_id, last_id), trade)


class Candles:
    """Only closed bars. The exchange has one for every minute: one that is missing here is a hole, and REST can fill it."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id
        self._next_time: int | None = None

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            kline = _decode_kline(frame).data.kline
        except UNREADABLE as error:
            return (malformed(frame, error),)
        if not kline.closed:
            return ()
        candle = self._to_candle(kline, received_at)
        missing = self._next_time
        self._next_time = max(candle.time + MINUTE, missing or 0)
        if missing is None or candle.time <= missing:
            return (candle,)
        return (Gap(self._instrument_id, "candles", "sequence", missing, candle.time), candle)

    def tick(self, now: int) -> Sequence[Output]:
        return ()

    def _to_candle(self, kline: Kline, received_at: int) -> Candle:
        return Candle(
            instrument_id=self._instrument_id,
            interval="1m",
            time=kline.time_ms * 1000,
            open=kline.open,
            high=kline.high,
            low=kline.low,
            close=kline.close,
            volume=kline.volume,
            quote_volume=kline.quote_volume,
            trades_count=kline.count,
            taker_buy_volume=kline.taker_buy_volume,
            taker_buy_quote_volume=kline.taker_buy_quote_volume,
            first_trade_id=kline.first_id if kline.count else None,
            last_trade_id=kline.last_id if kline.count else None,
            parts=1,
            origin="ws",
            received_at=received_at,
        )


class Books:
    """The frames of one book. One that cannot be read is a lost event: the next one breaks the sequence."""

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._depth = Depth(instrument, options)

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            diff = _decode_diff(frame).data
        except UNREADABLE as error:
            return (malformed(frame, error),)
        return self._depth.feed(diff, received_at)

    def answer(self, response: Response, now: int) -> Sequence[Output]:
        return self._depth.answer(response, now)

    def failed(self, now: int) -> None:
        self._depth.failed(now)

    def tick(self, now: int) -> Sequence[Output]:
        return self._depth.tick(now)


class Quotes:
    """The latest best bid and ask. The exchange says no time, so the grid is that of our own clock and the row names its writer."""

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._instrument_id = instrument.id
        self._writer = options.writer
        self._sampled = SampledQuote(options.quotes_interval)

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            event = _decode_ticker(frame).data
        except UNREADABLE as error:
            return (malformed(frame, error),)
        bid_price, bid_size = _side(event.bid_price, event.bid_size)
        ask_price, ask_size = _side(event.ask_price, event.ask_size)
        quote = Quote(
            self._instrument_id, received_at, self._writer, bid_price, bid_size, ask_price, ask_size, event.update, received_at
        )
        return self._sampled.seen(quote)

    def tick(self, now: int) -> Sequence[Output]:
        return self._sampled.idle(now)


def _side(price: str, size: str) -> tuple[str, str] | tuple[None, None]:
    """An empty side is sent as zeros."""
    return (price, size) if size.strip("0.") else (None, None)
