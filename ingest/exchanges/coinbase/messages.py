"""What Coinbase Exchange sends: the messages of its websocket and the answers of its REST, as far as they are used.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

MakerSide = Literal["buy", "sell"]


class Subscribed(Struct, frozen=True):
    """A channel that is subscribed."""

    name: str
    product_ids: tuple[str, ...] = ()


class Head(Struct, frozen=True):
    """What a message is about. `channels` is of a reply, `message` and `reason` are of an error."""

    type: str = ""
    product_id: str = ""
    channels: tuple[Subscribed, ...] = ()
    message: str = ""
    reason: str = ""


class Match(Struct, frozen=True, gc=False, tag_field="type", tag="match"):
    """A fill."""

    trade_id: int  # dense per product
    price: str
    size: str
    side: MakerSide
    time: str


class LastMatch(Match, frozen=True, gc=False, tag_field="type", tag="last_match"):
    """The latest fill before the subscription, sent in answer to it."""


class Heartbeat(Struct, frozen=True, gc=False, tag_field="type", tag="heartbeat"):
    """Sent every second for every product."""

    last_trade_id: int
    time: str


class Snapshot(Struct, frozen=True, tag_field="type", tag="snapshot"):
    """The whole book, in answer to a subscription."""

    bids: list[Any]
    asks: list[Any]


class Changes(Struct, frozen=True, tag_field="type", tag="l2update"):
    """Levels that changed: side of the book, price, absolute size. `time` may be that of the year 1."""

    changes: list[tuple[MakerSide, str, str]]
    time: str


class QuoteRow(Struct, frozen=True, gc=False):
    """The best bid and ask at a fill. The sizes came later than 2021."""

    sequence: int
    best_bid: str
    best_ask: str
    time: str
    best_bid_size: str | None = None
    best_ask_size: str | None = None


TradeRow = Match | LastMatch | Heartbeat
BookRow = Snapshot | Changes


class Listed(Struct):
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
    price: str
    size: str
    side: MakerSide
    time: str


class BarRow(Struct, array_like=True):
    """One element of `/products/{id}/candles`: low and high come before open and close. JSON numbers."""

    start: int  # seconds
    low: Decimal
    high: Decimal
    open: Decimal
    close: Decimal
    volume: Decimal
