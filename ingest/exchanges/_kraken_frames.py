"""What Kraken's websocket v2 sends, as types, and the two conversions that every field needs.

https://docs.kraken.com/exchange/api-reference/spot-websocket-v2

Prices and sizes are JSON numbers: they are decoded to `Decimal`, which keeps the digits of the frame ("105944.20"), never to float.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from ingest.protocol.decode import is_number


class TradeRow(Struct, frozen=True):
    symbol: str
    side: Literal["buy", "sell"]  # the taker's
    price: Decimal
    qty: Decimal
    trade_id: int  # dense per symbol
    timestamp: str


class BarRow(Struct, frozen=True):
    symbol: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int
    interval_begin: str
    interval: int  # minutes


class Level(Struct, frozen=True):
    price: Decimal
    qty: Decimal


class BookRow(Struct, frozen=True):
    symbol: str
    checksum: int
    bids: list[Level] = []
    asks: list[Level] = []
    timestamp: str | None = None  # older snapshots have none


class QuoteRow(Struct, frozen=True):
    symbol: str
    bid: Decimal
    bid_qty: Decimal
    ask: Decimal
    ask_qty: Decimal
    timestamp: str | None = None  # since 2025


class TradeFrame(Struct, frozen=True, tag_field="channel", tag="trade"):
    data: list[TradeRow]
    type: str = "update"
    timestamp: str | None = None


class BarFrame(Struct, frozen=True, tag_field="channel", tag="ohlc"):
    data: list[BarRow]
    type: str = "update"
    timestamp: str | None = None  # when the exchange sent it


class BookFrame(Struct, frozen=True, tag_field="channel", tag="book"):
    data: list[BookRow]
    type: str = "update"
    timestamp: str | None = None


class QuoteFrame(Struct, frozen=True, tag_field="channel", tag="ticker"):
    data: list[QuoteRow]
    type: str = "update"
    timestamp: str | None = None


class Heartbeat(Struct, frozen=True, tag_field="channel", tag="heartbeat"):
    """Sent about every second while nothing else is."""


class Status(Struct, frozen=True, tag_field="channel", tag="status"):
    """The trading engine's state, sent on connecting and when it changes."""


class Named(Struct, frozen=True):
    """The part of any row that says whose it is."""

    symbol: str = ""


class Subscribed(Struct, frozen=True):
    channel: str = ""
    symbol: str = ""


class Other(Struct, frozen=True):
    """Everything else: answers to our own messages, and frames of which some part is not as documented."""

    method: str = ""
    success: bool = True
    error: str = ""
    symbol: str = ""
    result: Subscribed = Subscribed()
    time_out: str | None = None  # when the exchange sent the answer
    channel: str = ""
    type: str = "update"
    data: list[Raw] = []


Row = TradeRow | BarRow | BookRow | QuoteRow
Rows = TradeFrame | BarFrame | BookFrame | QuoteFrame

FRAME = msgspec.json.Decoder(Rows | Heartbeat | Status)
OTHER = msgspec.json.Decoder(Other)
NAMED = msgspec.json.Decoder(Named)
FRAMES: dict[type, str] = {TradeFrame: "trade", BarFrame: "ohlc", BookFrame: "book", QuoteFrame: "ticker"}
ROWS: dict[str, msgspec.json.Decoder[Row]] = {
    "trade": msgspec.json.Decoder(TradeRow),
    "ohlc": msgspec.json.Decoder(BarRow),
    "book": msgspec.json.Decoder(BookRow),
    "ticker": msgspec.json.Decoder(QuoteRow),
}

_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_digits(number: Decimal) -> str:
    """The digits of the frame, without exponent: 1E-7 is written 0.0000001. Raises ValueError for a sign, NaN or absurd size."""
    text = str(number)
    if is_number(text):
        return text
    if number.is_signed() or not number.is_finite() or abs(number.adjusted()) > 30:
        raise ValueError(f"{text} is not a price or size")
    return format(number, "f")


def to_micros(text: str) -> int:
    """RFC 3339 to microseconds; digits beyond the sixth are cut off, not rounded. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return (moment - _EPOCH) // _MICROSECOND
