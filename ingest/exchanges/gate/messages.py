"""The fields in use of Gate's websocket frames and REST responses.

https://www.gate.com/docs/developers/apiv4/en/#spot

In a bar `v` is the volume in quote, `a` the volume in base.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct, field

from ingest.protocol.decode import Id

# time, volume in quote, close, high, low, open, volume in base, closed
RestBar = tuple[str, str, str, str, str, str, str, str]


class Problem(Struct, frozen=True):
    code: int = 0
    message: str = ""


class Frame(Struct, frozen=True):
    channel: str
    event: str = ""
    id: int | None = None
    error: Problem | None = None
    result: Raw = Raw(b"null")


class Named(Struct, frozen=True):
    """The fields of an update that name its market."""

    currency_pair: str = ""
    s: str = ""
    n: str = ""  # "1m_BTC_USDT"


class TradeRow(Struct, frozen=True):
    """`side` is the taker's. `id_market` numbers the fills of one market; before 2025 there was only `id`, of all markets."""

    id: Id
    create_time_ms: str  # "1786539952742.901000"
    side: str
    amount: str
    price: str
    id_market: Id | None = None
    range: str = ""  # "first-last": the fills of one market that this message stands for


class RestTrade(Struct):
    """`sequence_id` is the websocket's `id_market`; before 2025 there was only `id`, of all markets."""

    id: str
    create_time_ms: str
    side: str
    amount: str
    price: str
    sequence_id: str = ""


class Bar(Struct, frozen=True):
    """The state of a bar. Messages before 2024 have no `closed`."""

    time: str = field(name="t")  # seconds
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    close: str = field(name="c")
    quote_volume: str = field(name="v")
    volume: str | None = field(name="a", default=None)
    closed: bool = field(name="w", default=False)


class BookRow(Struct, frozen=True):
    time_ms: int = field(name="t")
    first: Id = field(name="U")
    last: Id = field(name="u")
    bids: list[tuple[str, str]] | None = field(name="b")
    asks: list[tuple[str, str]] | None = field(name="a")
    full: bool = False  # the message is the whole book


class BookAnswer(Struct, frozen=True):
    """GET /spot/order_book with_id=true."""

    id: Id
    bids: list[Any]
    asks: list[Any]
    update: int | None = None  # milliseconds, of the last change


class QuoteRow(Struct, frozen=True):
    """An empty side has empty strings."""

    time_ms: int = field(name="t")
    update: Id = field(name="u")
    bid_price: str = field(name="b")
    bid_size: str = field(name="B")
    ask_price: str = field(name="a")
    ask_size: str = field(name="A")


class Pair(Struct):
    id: str
    base: str
    quote: str
    price_digits: int = field(name="precision")
    size_digits: int = field(name="amount_precision")
    trade_status: str
