"""The fields in use of Binance's websocket frames and REST responses.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints

All times are milliseconds.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from msgspec import UNSET, Raw, Struct, UnsetType, field

from ingest.protocol.decode import Bigint, Count, Id

Event = TypeVar("Event")


class Frame(Struct, Generic[Event], gc=False):
    """The envelope of an event. `route` reads its other member, `stream`."""

    data: Event


class TradeEvent(Struct, gc=False):
    """A fill. In this event `a` and `b` are order ids."""

    id: Id = field(name="t")
    price: str = field(name="p")
    size: str = field(name="q")
    time_ms: int = field(name="T")
    buyer_is_maker: bool = field(name="m")


class AggTradeEvent(TradeEvent, gc=False):
    """The fills of one taker order at one price, with an id of its own; REST has the same fields."""

    id: Id = field(name="a")


class RestTrade(Struct, gc=False):
    """A row of GET /historicalTrades."""

    id: Id
    price: str
    size: str = field(name="qty")
    time_ms: int = field(name="time")
    buyer_is_maker: bool = field(name="isBuyerMaker")


class Kline(Struct, gc=False):
    """The state of a bar; `closed` if it is final. The trade ids are -1 where the minute has no trades."""

    time_ms: int = field(name="t")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    close: str = field(name="c")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    count: Count = field(name="n")
    taker_buy_volume: str = field(name="V")
    taker_buy_quote_volume: str = field(name="Q")
    first_id: Bigint = field(name="f")
    last_id: Bigint = field(name="L")
    closed: bool = field(name="x")


class KlineEvent(Struct, gc=False):
    kline: Kline = field(name="k")


class RestKline(Struct, gc=False, array_like=True):
    """A row of GET /klines. The last field has no meaning."""

    time_ms: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    end_ms: int
    quote_volume: str
    count: Count
    taker_buy_volume: str
    taker_buy_quote_volume: str


class DepthEvent(Struct, gc=False):
    """The levels changed by updates `first`..`last`; sizes are absolute, zero removes."""

    time_ms: int = field(name="E")
    first: Id = field(name="U")
    last: Id = field(name="u")
    bids: list[tuple[str, str]] = field(name="b")
    asks: list[tuple[str, str]] = field(name="a")


class Depth(Struct):
    """GET /depth: the best levels after update `last`."""

    last: Id = field(name="lastUpdateId")
    bids: list[Any]
    asks: list[Any]


class QuoteEvent(Struct, gc=False):
    """`bookTicker`, which has no time. An empty side has zeros."""

    update: Id = field(name="u")
    bid_price: str = field(name="b")
    bid_size: str = field(name="B")
    ask_price: str = field(name="a")
    ask_size: str = field(name="A")


class Problem(Struct):
    code: int
    msg: str


class Notice(Struct):
    event: str = field(name="e", default="")


class Other(Notice):
    """Any frame: an event, a reply, an error (in both documented forms) or a notice."""

    stream: str = ""
    data: Notice = field(default_factory=Notice)
    id: int | str | None = None
    result: object | UnsetType = UNSET
    error: Problem | None = None
    code: int | None = None
    msg: str = ""


class Aggregate(Struct):
    """The fields of GET /aggTrades that find the trades of a time."""

    id: Id = field(name="a")
    first_id: Bigint = field(name="f")  # of its trades; -1 in old aggregates without trades
    time_ms: int = field(name="T")


class Listing(Struct):
    """GET /exchangeInfo."""

    symbols: Raw


class Filter(Struct):
    """A filter of a listed market. A step of zero means no rule."""

    kind: str = field(name="filterType", default="")
    price_step: str | None = field(name="tickSize", default=None)
    size_step: str | None = field(name="stepSize", default=None)


class Listed(Struct):
    symbol: str
    status: str
    base: str = field(name="baseAsset")
    quote: str = field(name="quoteAsset")
    filters: list[Filter]
