"""From Deribit's messages to records. A bad value raises ValueError.

Prices and sizes are JSON numbers: they are decoded to `Decimal`, which keeps the digits of the frame ("1000.0"), never to float.
A change of the book follows if its `prev_change_id` is the `change_id` of the update before. `trade_id` is the number of the trade
within its instrument; Deribit's own id is in `native_id`. Instruments have ccxt's names: BTC/USD:BTC is BTC-PERPETUAL,
BTC/USD:BTC-241227 a future, BTC/USD:BTC-241227-100000-C an option, BTC/USDC spot.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from ingest.errors import Reject
from ingest.exchanges.deribit.messages import BarRow, Body, BookRow, Chart, Listed, QuoteRow, TradeRow, Trades
from ingest.marketdata.rest import Rows, decode, make_rows, rows
from ingest.marketdata.streamed_book import Update
from ingest.marketdata.values import (
    MILLISECOND,
    PRICE_DIGITS,
    SIZE_DIGITS,
    Level,
    checked_market,
    decimal_digits,
    decimal_price,
    decimal_side,
    decimal_size,
    event_time,
    micros,
    minute_bar,
    name,
    price_digits,
    volume_digits,
)
from ingest.records import Candle, Instrument, Quote, Trade

_KINDS = {"spot": "spot", "future": "future", "option": "option"}  # combos, which combine several instruments, are left out
_TRADING = {"open", ""}  # listings before 2026 have no state
_ENDED = {"delivered": "delisted", "archivized": "delisted"}  # any other state, a new one too, does not trade


def trade(row: TradeRow, instrument_id: int, received_at: int) -> Trade:
    time, price, size = micros(row.timestamp * MILLISECOND), decimal_price(row.price), decimal_size(row.amount)
    return Trade(instrument_id, time, row.trade_seq, price, size, row.direction, received_at, native_id=name(row.trade_id))


def candle(row: BarRow, instrument_id: int, received_at: int, origin: str) -> Candle:
    numbers = row.open, row.high, row.low, row.close, row.volume, row.cost
    time = micros(row.tick * MILLISECOND)
    return minute_bar(instrument_id, time, numbers, origin=origin, received_at=received_at, read=decimal_digits)


def book(row: BookRow) -> Update:
    time = event_time(micros, row.timestamp * MILLISECOND)
    return Update(time, row.bids, row.asks, row.change_id, row.prev_change_id, snapshot=row.type == "snapshot")


def level(change: Any) -> Level:
    """A level of (new, change or delete; price; amount). Hot: the usual level is read without another call."""
    try:
        action, price, amount = change
    except (TypeError, ValueError):
        raise ValueError(f"level {str(change)[:80]} is not new, change or delete, price, amount") from None
    if action == "delete":
        amount = 0
    elif action not in ("new", "change"):
        raise ValueError(f"level {str(change)[:80]} is not new, change or delete, price, amount")
    prices, sizes = str(price), str(amount)
    plain = prices.replace(".", "", 1).isdecimal() and sizes.replace(".", "", 1).isdecimal() and price
    if plain and type(price) is not str and type(amount) is not str and len(prices) <= PRICE_DIGITS and len(sizes) <= SIZE_DIGITS:
        return prices, sizes
    return price_digits(_number(price)), volume_digits(_number(amount))


def _number(value: Any) -> str:
    """A JSON number is an int, or a Decimal where it has a point or an exponent."""
    if type(value) not in (int, Decimal):
        raise ValueError(f"{str(value)[:80]} is not a price or size")
    return decimal_digits(Decimal(value))


def quote(row: QuoteRow, instrument_id: int, received_at: int) -> Quote:
    bid, bid_size = decimal_side(row.best_bid_price, row.best_bid_amount)
    ask, ask_size = decimal_side(row.best_ask_price, row.best_ask_amount)
    time = event_time(micros, row.timestamp * MILLISECOND)
    return Quote(instrument_id, time or 0, "", bid, bid_size, ask, ask_size, None, received_at)


def instrument(listed: Listed) -> Instrument | None:
    if listed.kind not in _KINDS:
        return None
    base = listed.base_currency
    quote = listed.counter_currency or ("USD" if listed.quote_currency == base else listed.quote_currency)
    kind = "swap" if listed.settlement_period == "perpetual" else _KINDS[listed.kind]
    trading = listed.is_active and listed.state in _TRADING
    status = "trading" if trading else _ENDED.get(listed.state, "halted")
    steps = decimal_digits(listed.tick_size), decimal_digits(listed.min_trade_amount)
    unified = f"{base}/{quote}{_suffix(listed)}"
    return checked_market(Instrument("deribit", listed.instrument_name, unified, base, quote, kind, status, *steps))


def _suffix(listed: Listed) -> str:
    if listed.kind == "spot":
        return ""
    suffix = f":{listed.settlement_currency or listed.base_currency}"
    if listed.settlement_period == "perpetual":
        return suffix
    suffix += f"-{datetime.fromtimestamp(micros(listed.expiration_timestamp * MILLISECOND) / 1_000_000, UTC):%y%m%d}"
    if listed.kind == "future":
        return suffix
    return f"{suffix}-{decimal_digits(listed.strike).removesuffix('.0')}-{listed.option_type[:1].upper()}"


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Trade]:
    """Every trade of one response of get_last_trades_by_instrument, oldest first. Raises Reject."""
    answer = decode("deribit", decode("deribit", body, Body).result, Trades)
    trades = rows("deribit", answer.trades, TradeRow, lambda row: trade(row, instrument.id, received_at))
    return trades.ordered(lambda trade: trade.trade_id)


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Candle]:
    """The bars of one response of get_tradingview_chart_data, oldest first, open bars included. Raises Reject."""
    chart = decode("deribit", decode("deribit", body, Body).result, Chart)
    columns = chart.ticks, chart.open, chart.high, chart.low, chart.close, chart.volume, chart.cost
    if len({len(column) for column in columns}) > 1:
        raise Reject(f"deribit: bars: unequal columns: {', '.join(str(len(column)) for column in columns)}", reason="shape")
    bars = [BarRow(*row) for row in sorted(zip(*columns, strict=True))]
    return make_rows("deribit", bars, lambda bar: candle(bar, instrument.id, received_at, "rest"), msgspec.json.encode)
