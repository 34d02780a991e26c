"""The fields in use of Kraken's websocket v2 frames and REST responses.

https://docs.kraken.com/exchange/api-reference/spot-websocket-v2
https://docs.kraken.com/exchange/api-reference/spot-rest

On the websocket prices and sizes are JSON numbers: they are decoded to `Decimal`, which keeps their digits ("105944.20").
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Raw, Struct

from ingest.protocol.decode import Count, Id


class Reply(Struct, frozen=True):
    """The subscription that was accepted."""

    channel: str = ""
    symbol: str = ""


class Frame(Struct, frozen=True):
    """Any frame: rows of a channel, or a reply. A message has a reply for each of its symbols."""

    channel: str = ""
    type: str = ""
    data: Raw = Raw(b"null")
    method: str = ""
    success: bool = True
    error: str = ""
    symbol: str = ""
    result: Reply = Reply()
    req_id: int | None = None


class Named(Struct, frozen=True):
    """The field of any row that names its market."""

    symbol: str = ""


class TradeRow(Named, frozen=True, kw_only=True):
    side: Literal["buy", "sell"]  # the taker's
    price: Decimal
    qty: Decimal
    trade_id: Id  # dense per symbol
    timestamp: str


class BarRow(Named, frozen=True, kw_only=True):
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: Count
    interval_begin: str
    interval: int  # minutes


class Level(Struct, frozen=True, gc=False):
    price: Decimal
    qty: Decimal


class BookRow(Named, frozen=True, kw_only=True):
    checksum: int
    bids: list[Level] = []
    asks: list[Level] = []
    timestamp: str | None = None  # older snapshots have none


class QuoteRow(Named, frozen=True, kw_only=True):
    bid: Decimal
    bid_qty: Decimal
    ask: Decimal
    ask_qty: Decimal
    timestamp: str | None = None  # since 2025


class TradeFrame(Struct, frozen=True, tag_field="channel", tag="trade"):
    data: list[TradeRow]
    type: str = ""


class BarFrame(Struct, frozen=True, tag_field="channel", tag="ohlc"):
    data: list[BarRow]
    type: str = ""


class BookFrame(Struct, frozen=True, tag_field="channel", tag="book"):
    data: list[BookRow]
    type: str = ""


class QuoteFrame(Struct, frozen=True, tag_field="channel", tag="ticker"):
    data: list[QuoteRow]
    type: str = ""


RowsFrame = TradeFrame | BarFrame | BookFrame | QuoteFrame


class Body(Struct):
    """A REST response. Errors have status 200 too."""

    error: list[str] = []
    result: Raw = Raw(b"null")


class Listed(Struct):
    pair_decimals: int
    lot_decimals: int
    wsname: str = ""  # dark pools have none
    status: str = "online"
    tick_size: str = "0"


class RestTrade(Struct, frozen=True, array_like=True):
    """One row of /0/public/Trades; `time` in seconds, with 7 decimals."""

    price: str
    size: str
    time: Decimal
    side: Literal["b", "s"]
    order_type: str
    misc: str
    trade_id: Id


class RestBar(Struct, frozen=True, array_like=True):
    """One row of /0/public/OHLC; `time` is its open in seconds."""

    time: int
    open: str
    high: str
    low: str
    close: str
    vwap: str
    volume: str
    trades: Count
