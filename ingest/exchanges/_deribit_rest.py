"""What Deribit says by REST: the listing, past trades and past bars.

https://docs.deribit.com/#public-get_instruments

Names are ccxt's: BTC/USD:BTC is BTC-PERPETUAL, BTC/USD:BTC-241227 a future, BTC/USD:BTC-241227-100000-C an option, BTC/USDC spot.
Before 2022 the listing said neither what an option is quoted in beside its coin (`counter_currency`) nor what settles it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from ingest.errors import Reject
from ingest.exchanges._deribit_streams import BarRow, TradeRow, to_candle, to_digits, to_trade
from ingest.protocol.decode import UNREADABLE
from ingest.protocol.exchange import Options
from ingest.protocol.http import Flow, Request
from ingest.records import Candle, Instrument, Trade

T = TypeVar("T")

_KINDS = {"spot": "spot", "future": "future", "option": "option"}  # a combo is a strategy of several, and is left out


class _Body(Struct):
    result: Raw


class _Listed(Struct):
    instrument_name: str
    kind: str
    base_currency: str
    quote_currency: str
    is_active: bool
    tick_size: Decimal
    min_trade_amount: Decimal
    expiration_timestamp: int = 0  # milliseconds
    counter_currency: str = ""
    settlement_currency: str = ""
    settlement_period: str = ""
    option_type: str = ""
    strike: Decimal = Decimal(0)


class _Trades(Struct):
    trades: list[TradeRow]


class _Chart(Struct):
    """Bars, column by column."""

    ticks: list[int]
    open: list[Decimal]
    high: list[Decimal]
    low: list[Decimal]
    close: list[Decimal]
    volume: list[Decimal]
    cost: list[Decimal]


def listing(options: Options) -> Flow[list[Instrument]]:
    """Every spot market, perpetual, future and option that has not expired."""
    response = yield Request(f"{options.rest_url}/api/v2/public/get_instruments?currency=any&expired=false")
    return [_instrument(listed) for listed in result(response.body, list[_Listed]) if listed.kind in _KINDS]


def _instrument(listed: _Listed) -> Instrument:
    base = listed.base_currency
    quote = listed.counter_currency or ("USD" if listed.quote_currency == base else listed.quote_currency)
    perpetual = listed.settlement_period == "perpetual"
    return Instrument(
        exchange="deribit",
        symbol=listed.instrument_name,
        instrument=f"{base}/{quote}{_suffix(listed)}",
        base=base,
        quote=quote,
        kind="swap" if perpetual else _KINDS[listed.kind],
        status="trading" if listed.is_active else "halted",
        price_step=to_digits(listed.tick_size),
        size_step=to_digits(listed.min_trade_amount),
    )


def _suffix(listed: _Listed) -> str:
    if listed.kind == "spot":
        return ""
    suffix = f":{listed.settlement_currency or listed.base_currency}"
    if listed.settlement_period == "perpetual":
        return suffix
    suffix += f"-{datetime.fromtimestamp(listed.expiration_timestamp / 1000, UTC):%y%m%d}"
    if listed.kind == "future":
        return suffix
    return f"{suffix}-{to_digits(listed.strike).removesuffix('.0')}-{listed.option_type[:1].upper()}"


def result(body: bytes, shape: type[T]) -> T:
    """What an answer holds; an error has a status of its own. Raises Reject."""
    try:
        return msgspec.json.decode(msgspec.json.decode(body, type=_Body).result, type=shape)
    except UNREADABLE as error:
        raise Reject(f"deribit: not what REST documents: {error}: {body[:200]!r}", reason="shape") from error


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Trade]:
    """Every trade of one answer of get_last_trades_by_instrument, oldest first. Raises Reject."""
    rows = sorted(result(body, _Trades).trades, key=lambda row: row.trade_seq)
    try:
        return [to_trade(row, instrument.id, received_at) for row in rows]
    except ValueError as error:
        raise Reject(f"deribit: trade: {error}", reason="value") from error


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Candle]:
    """The bars of one answer of get_tradingview_chart_data, oldest first; whether one is closed is for the caller to know."""
    chart = result(body, _Chart)
    columns = chart.ticks, chart.open, chart.high, chart.low, chart.close, chart.volume, chart.cost
    try:
        return [to_candle(BarRow(*row), instrument.id, received_at, "rest") for row in sorted(zip(*columns, strict=True))]
    except ValueError as error:
        raise Reject(f"deribit: bars: {error}", reason="value") from error
