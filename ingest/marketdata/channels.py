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

from ingest.marketdata.forming_candle import FormingCandle, LatestBar
from ingest.marketdata.order_book import SampledQuote
from ingest.marketdata.values import AHEAD, ahead
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Response
from ingest.protocol.session import ChannelName, Gap, Output
from ingest.records import MINUTE, Candle, Instrument, Quote, Trade

MAX_JUMP = 100_000_000  # trades; no market has as many in a day

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
    ids = DenseIds(instrument_id)

    def feed(row: Any, received_at: int, snapshot: bool) -> Sequence[Output]:
        trade = parse(row, instrument_id, received_at)
        trade_id, time = trade.trade_id, trade.time
        if time > received_at + AHEAD:
            raise ahead(time, received_at)
        if trade_id == ids.expected:  # the usual case
            ids.expected, ids.time = trade_id + 1, time
            return (trade,)
        first = trade_id if first_id is None else first_id(row)
        return (trade,) if first is None else (*ids.take(first, trade_id, time), trade)

    return feed


class DenseIds:
    """The ids of one instrument's trades, which are consecutive. Finds the missing ones.

    A jump of more than MAX_JUMP is no gap: after a wrong id, no other would be seen. The trade is refused, unless the message after
    it continues from it: then ids have changed, and the gap has none. `time` is that of the last trade, in microseconds.
    """

    def __init__(self, instrument_id: int) -> None:
        self.expected: int | None = None  # None before the first trade
        self.time = 0
        self._instrument_id = instrument_id
        self._doubted: int | None = None  # the id of the message before, which was too far away

    def take(self, first: int, last: int, time: int) -> Sequence[Gap]:
        """A message has the trades `first`..`last`. Returns the gap before them. Raises ValueError."""
        expected, doubted, self._doubted = self.expected, self._doubted, None
        if expected is None:
            self.expected, self.time = last + 1, time
            return ()
        changed = doubted is not None and doubted < last <= doubted + MAX_JUMP
        if not changed:
            if expected - last > MAX_JUMP:  # stored; if the next one continues it, the id before was wrong
                self._doubted = last
                return ()
            if last < expected:
                return ()  # repeated
            if first - expected > MAX_JUMP:
                self._doubted = last
                raise self.too_far(last)
        return self._advance(first, last + 1, time, known=not changed)

    def missing(self, last: int, time: int) -> Sequence[Gap]:
        """Every trade up to `last` should have arrived. Returns the gap if not."""
        return () if self.expected is None or last < self.expected else self._advance(last + 1, last + 1, time)

    def too_far(self, trade_id: int) -> ValueError:
        return ValueError(f"trade id {trade_id} is more than {MAX_JUMP} after {self.expected}")

    def _advance(self, first: int, expected: int, time: int, *, known: bool = True) -> Sequence[Gap]:
        """Go on with `expected`. Returns the gap before `first`, without ids where they are not `known`."""
        missing, since = self.expected, self.time
        self.expected, self.time = expected, time
        if missing is None or (known and first <= missing):
            return ()
        ids = (missing, first - 1) if known else (None, None)
        return (Gap(self._instrument_id, "trades", "sequence", min(since, time), time, *ids),)


class Candles(Struct, frozen=True):
    """Closed bars. Where a message has a flag for a closed bar, `parse` returns None for an open one.

    Else `grace` is set: the next bar closes a bar, or the clock `grace` microseconds after its end. `every_minute`: minutes without
    trades have a bar too, so a missing bar is a gap. `is_open`: the message with the flag may be missing, so `parse` returns open
    bars as well, and the next bar closes a bar, too.
    """

    row: Any
    parse: Callable[[Any, int, int, str], Candle | None]  # row, instrument_id, received_at, origin
    grace: int | None = None
    every_minute: bool = False
    is_open: Callable[[Any], bool] | None = None  # row

    def open(self, market: Market) -> ChannelState:
        parse, instrument_id, is_open = self.parse, market.instrument.id, self.is_open
        bar = None if self.grace is None else FormingCandle(self.grace)
        closed = _with_gaps(instrument_id, self.every_minute) if bar is None else bar.seen
        latest = LatestBar(closed)

        def feed(row: Any, received_at: int, snapshot: bool) -> Sequence[Output]:
            candle = parse(row, instrument_id, received_at, "ws")
            if candle is None:
                return ()
            if candle.time > received_at + AHEAD:
                raise ahead(candle.time, received_at)
            return closed(candle) if is_open is None else latest.seen(candle, is_open(row))

        return ChannelState(feed, latest.lost) if bar is None else ChannelState(feed, bar.lost, bar.idle)


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
            first, skip = skip, False  # a bad one is the first one, too
            quote = parse(row, instrument_id, received_at)
            if quote is None or first:
                return ()
            if quote.time > received_at + AHEAD:
                raise ahead(quote.time, received_at)
            return seen(quote if quote.time else replace(quote, time=received_at, writer=writer))

        def lost(now: int) -> Sequence[Output]:
            nonlocal skip
            skip = False
            return sampled.lost(now)

        return ChannelState(feed, lost, sampled.idle)
