"""The fields in use of Deribit's websocket frames and REST responses.

https://docs.deribit.com/#public-get_instruments

Listings before 2022 have neither `counter_currency` nor `settlement_currency`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from msgspec import Raw, Struct

from ingest.protocol.decode import Id


class Params(Struct, frozen=True):
    channel: str = ""
    type: str = ""
    data: Raw = Raw(b"null")


class Problem(Struct, frozen=True):
    code: int
    message: str


class Frame(Struct, frozen=True):
    method: str = ""
    params: Params = Params()
    id: int | None = None
    result: Raw = Raw(b"null")
    error: Problem | None = None


class TradeRow(Struct, frozen=True):
    """`trade_seq` numbers the trades of one instrument; `trade_id` those of a currency, some with its name as prefix."""

    trade_seq: Id
    trade_id: str
    timestamp: int  # milliseconds
    price: Decimal
    amount: Decimal
    direction: Literal["buy", "sell"]  # the taker's


class BarRow(Struct, frozen=True):
    tick: int  # milliseconds
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal  # in base
    cost: Decimal  # in quote


class BookRow(Struct, frozen=True):
    timestamp: int
    change_id: Id
    bids: list[Any]  # new, change or delete; price, amount
    asks: list[Any]
    prev_change_id: Id | None = None
    type: Literal["snapshot", "change"] = "change"


class QuoteRow(Struct, frozen=True):
    """An empty side has zeros, or null."""

    timestamp: int
    best_bid_price: Decimal | None
    best_bid_amount: Decimal | None
    best_ask_price: Decimal | None
    best_ask_amount: Decimal | None


class Body(Struct):
    result: Raw


class Listed(Struct):
    instrument_name: str
    kind: str
    base_currency: str
    quote_currency: str
    is_active: bool
    tick_size: Decimal
    min_trade_amount: Decimal
    state: str = ""  # open, settlement, inactive, locked, halted, delivered, archivized; since 2026-01-13 an open set
    expiration_timestamp: int = 0  # milliseconds
    counter_currency: str = ""
    settlement_currency: str = ""
    settlement_period: str = ""
    option_type: str = ""
    strike: Decimal = Decimal(0)


class Trades(Struct):
    trades: Raw


class Chart(Struct):
    """Bars, column by column."""

    ticks: list[int]
    open: list[Decimal]
    high: list[Decimal]
    low: list[Decimal]
    close: list[Decimal]
    volume: list[Decimal]
    cost: list[Decimal]
