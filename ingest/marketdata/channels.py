"""The channels of an exchange: trades, candles, quotes; the books are in `synced_book` and `streamed_book`.

An exchange declares each channel with one of these structs: the type of a row, and the function that turns a row into a record.
`open` returns the state of one subscription, a `ChannelState`. A parse function raises ValueError for a bad value; the session then
yields a `Malformed` and calls `lost`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ingest.marketdata.forming_candle import FormingCandle
from ingest.marketdata.order_book import SampledQuote
from ingest.marketdata.values import AHEAD, ahead
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Response
from ingest.protocol.session import ChannelName, Gap, Output
from ingest.records import MINUTE, Candle, Instrument, Quote, Trade

Topic = Hashable  # identifies the messages of one subscription
RowHandler = Callable[[Any, int, bool], Sequence[Output]]  # row, received_at, whether the row is a snapshot
TimeHandler = Callable[[int], Sequence[Output]]  # the present time in microseconds


class Market(Struct, frozen=True):
    """The market of one subscription, and the callbacks of its session."""

    exchange: str
    instrument: Instrument
    options: ExchangeOptions
    resubscribe: TimeHandler = lambda now: ()  # subscribe to the topic again; sends nothing before the pause is over
    resubscribed: Callable[[], None] = lambda: None  # a good snapshot arrived
    received: Callable[[int], None] = lambda now: None  # a REST response counts as a message of the subscription


class ChannelState(Struct):
    """The state of one subscription: the functions that the session calls."""

    feed: RowHandler  # raises ValueError
    lost: TimeHandler = lambda now: ()  # called after a message that could not be read
    tick: TimeHandler | None = None  # None: nothing depends on the clock
    answer: Callable[[Response | None, int], Sequence[Output]] | None = None  # None: the request failed


class ChannelSpec(Protocol):
    """The declaration of a channel."""

    @property
    def row(self) -> Any:
        """The type of a row, for msgspec."""

    def open(self, market: Market) -> ChannelState:
        """The state of one subscription."""


class Channel(Struct, frozen=True):
    """One channel. `topic` has `{}` for the symbol, or the form that the protocol's function `topic` reads."""

    topic: str
    spec: ChannelSpec
    listed: bool = False  # a message has a list of rows
    decoded: bool = False  # `route` has decoded the rows, unless one of them is bad
    batch: int | None = None  # topics of one subscribe message, where not `topics_per_message` of the protocol


Channels = Mapping[ChannelName, Channel]


class Trades(Struct, frozen=True):
    """Every trade. `dense_ids` are the trade kinds in which a jump of the id is a gap. A repeated trade is yielded again.

    `first_id` returns the first id of a row that stands for several trades, None for a row whose id is not dense.
    """

    row: Any
    parse: Callable[[Any, int, int], Trade]  # row, instrument_id, received_at
    dense_ids: tuple[str, ...] = ()
    first_id: Callable[[Any], int | None] | None = None

    def open(self, market: Market) -> ChannelState:
        parse, instrument_id = self.parse, market.instrument.id
        if market.options.trade_kind in self.dense_ids:
            return ChannelState(_dense(parse, instrument_id, self.first_id))

        def feed(row: Any, received_at: int, snapshot: bool) -> Sequence[Output]:
            trade = parse(row, instrument_id, received_at)
            if trade.time > received_at + AHEAD:
                raise ahead(trade.time, received_at)
            return (trade,)

        return ChannelState(feed)


def _dense(parse: Callable[[Any, int, int], Trade], instrument_id: int, first_id: Callable[[Any], int | None] | None) -> RowHandler:
    last: Trade | None = None
    expected = -1

    def feed(row: Any, received_at: int, snapshot: bool) -> Sequence[Output]:
        nonlocal last, expected
        trade = parse(row, instrument_id, received_at)
        if trade.time > received_at + AHEAD:
            raise ahead(trade.time, received_at)
        trade_id = trade.trade_id
        if trade_id < expected:
            return (trade,)
        before, last = last, trade
        missing, expected = expected, trade_id + 1
        if trade_id == missing or before is None:
            return (trade,)
        first = trade_id if first_id is None else first_id(row)
        if first is None or first <= missing:
            return (trade,)
        return (Gap(instrument_id, "trades", "sequence", before.time, trade.time, missing, first - 1), trade)

    return feed


class Candles(Struct, frozen=True):
    """Closed bars. Where a message has a flag for a closed bar, `parse` returns None for an open one.

    Else `grace` is set: the next bar closes a bar, or the clock `grace` microseconds after its end. `every_minute`: minutes without
    trades have a bar too, so a missing bar is a gap.
    """

    row: Any
    parse: Callable[[Any, int, int, str], Candle | None]  # row, instrument_id, received_at, origin
    grace: int | None = None
    every_minute: bool = False

    def open(self, market: Market) -> ChannelState:
        parse, instrument_id = self.parse, market.instrument.id
        bar = None if self.grace is None else FormingCandle(self.grace)
        closed = _with_gaps(instrument_id, self.every_minute) if bar is None else bar.seen

        def feed(row: Any, received_at: int, snapshot: bool) -> Sequence[Output]:
            candle = parse(row, instrument_id, received_at, "ws")
            if candle is None:
                return ()
            if candle.time > received_at + AHEAD:
                raise ahead(candle.time, received_at)
            return closed(candle)

        return ChannelState(feed) if bar is None else ChannelState(feed, bar.lost, bar.idle)


def _with_gaps(instrument_id: int, every_minute: bool) -> Callable[[Candle], Sequence[Output]]:
    expected: int | None = None

    def closed(candle: Candle) -> Sequence[Output]:
        nonlocal expected
        missing, expected = expected, max(candle.time + MINUTE, expected or 0)
        if not every_minute or missing is None or candle.time <= missing:
            return (candle,)
        return (Gap(instrument_id, "candles", "sequence", missing, candle.time), candle)

    return closed


class Quotes(Struct, frozen=True):
    """Best bid and ask, sampled on the grid of event time. `parse` returns None for a row that is not a quote.

    Time 0 means that the row has no time: the quote then gets the time of our clock, and this daemon's name as its writer.
    """

    row: Any
    parse: Callable[[Any, int, int], Quote | None]  # row, instrument_id, received_at
    skip_first: bool = False  # the first row confirms the subscription: the present quote with the time of an older event

    def open(self, market: Market) -> ChannelState:
        parse, instrument_id, sampled = self.parse, market.instrument.id, SampledQuote(market.options.quotes_interval)
        seen, writer, skip = sampled.seen, market.options.writer, self.skip_first

        def feed(row: Any, received_at: int, snapshot: bool) -> Sequence[Output]:
            nonlocal skip
            quote = parse(row, instrument_id, received_at)
            if quote is None or skip:
                skip = False
                return ()
            if quote.time > received_at + AHEAD:
                raise ahead(quote.time, received_at)
            return seen(quote if quote.time else replace(quote, time=received_at, writer=writer))

        return ChannelState(feed, sampled.lost, sampled.idle)
