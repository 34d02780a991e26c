"""The fields in use of Coinbase Exchange's websocket messages and REST responses.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

MakerSide = Literal["buy", "sell"]


class Subscribed(Struct, frozen=True):
    """A subscribed channel and its products."""

    name: str
    product_ids: tuple[str, ...] = ()


class Head(Struct, frozen=True):
    """The fields that route a message. A reply has `channels`, an error has `message` and `reason`."""

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
    """The latest fill before the subscription, sent first."""


class Heartbeat(Struct, frozen=True, gc=False, tag_field="type", tag="heartbeat"):
    """Sent every second for every product."""

    last_trade_id: int
    time: str


class QuoteRow(Struct, frozen=True, gc=False):
    """The best bid and ask at a fill. Messages of 2021 have no sizes."""

    sequence: int
    best_bid: str
    best_ask: str
    time: str
    best_bid_size: str | None = None
    best_ask_size: str | None = None


TradeRow = Match | LastMatch | Heartbeat


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
    """One element of `/products/{id}/candles`, JSON numbers: low and high are before open and close."""

    start: int  # seconds
    low: Decimal
    high: Decimal
    open: Decimal
    close: Decimal
    volume: Decimal
