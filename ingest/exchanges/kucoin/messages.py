"""The fields in use of KuCoin's websocket frames and REST responses.

https://www.kucoin.com/docs-new/rest/spot-trading/market-data/introduction
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct, field

from ingest.marketdata.rest import Envelope
from ingest.protocol.decode import Id

RawBar = tuple[str, str, str, str, str, str, str]  # time, open, close, high, low, volume, turnover


class Frame(Struct, frozen=True):
    type: str
    topic: str = ""
    data: Raw = Raw(b"null")
    id: str = ""
    code: int | str = ""


class TradeRow(Struct, frozen=True):
    """`side` is the taker's; `time` in nanoseconds, as text in the websocket and as a number in REST."""

    sequence: str
    price: str
    size: str
    side: str
    time: str | int


class BarRow(Struct, frozen=True):
    candles: RawBar


class Changes(Struct, frozen=True):
    """Levels of (price, size, sequence). A price of 0 means that only the sequence advanced."""

    bids: list[tuple[str, str, str]]
    asks: list[tuple[str, str, str]]


class BookRow(Struct, frozen=True):
    first: Id = field(name="sequenceStart")
    last: Id = field(name="sequenceEnd")
    changes: Changes
    time_ms: int | None = field(name="time", default=None)  # messages before 2022 have none


class Book(Struct, frozen=True):
    sequence: str
    bids: list[Any] | None
    asks: list[Any] | None


class BookAnswer(Struct, frozen=True):
    """GET /market/orderbook/level2_100."""

    data: Book


class QuoteRow(Struct, frozen=True):
    """An empty side is null."""

    sequence: str
    time_ms: int = field(name="time")
    bid_price: str | None = field(name="bestBid")
    bid_size: str | None = field(name="bestBidSize")
    ask_price: str | None = field(name="bestAsk")
    ask_size: str | None = field(name="bestAskSize")


# too many requests (two codes); internal error
ENVELOPE = Envelope("kucoin", good="200000", retried={"200002", "429000", "500000"})


class Server(Struct):
    endpoint: str


class Bullet(Struct):
    token: str
    servers: list[Server] = field(name="instanceServers")


class Listed(Struct):
    """A market's `symbol` never changes; the traded currencies are in `name` (BCHSV-USDT is BSV-USDT)."""

    symbol: str
    name: str
    price_step: str = field(name="priceIncrement")
    size_step: str = field(name="baseIncrement")
    trading: bool = field(name="enableTrading")
