"""The wire of Coinbase Exchange: its messages as they come, and how their values become ours.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from msgspec import Struct
from msgspec.json import Decoder

from ingest.protocol.decode import Number

MakerSide = Literal["buy", "sell"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Match(Struct, tag_field="type", tag="match", gc=False):
    """A fill. `side` is the **maker's**."""

    product_id: str
    trade_id: int
    price: Number
    size: Number
    side: MakerSide
    time: datetime


class LastMatch(Struct, tag_field="type", tag="last_match", gc=False):
    """The latest fill before the subscription, sent in answer to it."""

    product_id: str
    trade_id: int
    price: Number
    size: Number
    side: MakerSide
    time: datetime


class Heartbeat(Struct, tag_field="type", tag="heartbeat"):
    """Every second, for every product."""

    product_id: str
    last_trade_id: int
    time: datetime


class Snapshot(Struct, tag_field="type", tag="snapshot"):
    """The whole book, in answer to a subscription."""

    product_id: str
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]


class Update(Struct, tag_field="type", tag="l2update"):
    """Levels that changed: side of the book, price, absolute size. `time` may be that of the year 1."""

    product_id: str
    changes: list[tuple[MakerSide, Number, Number]]
    time: datetime


class Ticker(Struct, tag_field="type", tag="ticker"):
    """The best bid and ask at a fill. The sizes came later than 2021."""

    product_id: str
    sequence: int
    best_bid: Number
    best_ask: Number
    time: datetime
    best_bid_size: Number | None = None
    best_ask_size: Number | None = None


class Subscriptions(Struct, tag_field="type", tag="subscriptions"):
    """What we are subscribed to, after each of our messages."""


class Error(Struct, tag_field="type", tag="error"):
    message: str
    reason: str = ""


class Head(Struct):
    """As much as is needed to say what a message was that could not be read."""

    type: str = ""
    product_id: str = ""


class Product(Struct):
    """One element of `/products`."""

    id: str
    base_currency: str
    quote_currency: str
    status: str
    quote_increment: str
    base_increment: str | None = None
    trading_disabled: bool = False
    cancel_only: bool = False


class RestTrade(Struct):
    """One element of `/products/{id}/trades`; the side is the maker's here too."""

    trade_id: int
    price: Number
    size: Number
    side: MakerSide
    time: datetime


class Bar(Struct, array_like=True):
    """One element of `/products/{id}/candles`: note low, high, open, close. JSON numbers, read as exact decimals."""

    start: int  # seconds
    low: Decimal
    high: Decimal
    open: Decimal
    close: Decimal
    volume: Decimal


Message = Match | LastMatch | Heartbeat | Snapshot | Update | Ticker | Subscriptions | Error

decode_message = Decoder(Message).decode
decode_head = Decoder(Head).decode
decode_products = Decoder(list[Product]).decode
decode_trades = Decoder(list[RestTrade]).decode
decode_bars = Decoder(list[Bar]).decode


def to_micros(time: datetime) -> int:
    """Microseconds since 1970. Coinbase says microseconds on every path."""
    return (time - _EPOCH) // _MICROSECOND


def to_digits(number: Decimal) -> str:
    """The number's own digits, never in exponent form."""
    return format(number, "f")


def to_iso(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_taker(maker: MakerSide) -> str:
    return "sell" if maker == "buy" else "buy"
