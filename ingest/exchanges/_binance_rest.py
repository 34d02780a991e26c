"""Binance spot trades and candles as REST says them, as the same rows that the websocket gives.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints

The archive has the same values in other containers, so what makes a row of them is here for both. A trade is cut to the
millisecond, which every path knows: with `.123` from one path and `.123456` from another it would be two rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from ingest.errors import Reject
from ingest.protocol.decode import UNREADABLE, is_number
from ingest.records import Candle, Instrument, Trade

T = TypeVar("T")

MILLISECONDS_END = 10**14  # larger numbers are microseconds: in milliseconds this is the year 5138
_TRADE_FIELDS = {"trade": ("id", "price", "qty", "time", "isBuyerMaker"), "aggTrade": ("a", "p", "q", "T", "m")}


def rows_from_rest(body: bytes, shape: type[T]) -> list[T]:
    """The elements of an answer that is a list. Raises Reject."""
    try:
        return msgspec.json.decode(body, type=list[shape])  # type: ignore[valid-type]
    except UNREADABLE as error:
        raise Reject(f"binance: not what REST documents: {error}: {body[:200]!r}", reason="shape") from error


def trade_from_rest(row: Mapping[str, object], instrument: Instrument, trade_kind: str, received_at: int) -> Trade:
    """One element of `/api/v3/trades` or `/historicalTrades`, or, for `aggTrade`, of `/aggTrades`. Raises Reject."""
    return to_trade([str(row.get(name)) for name in _TRADE_FIELDS[trade_kind]], instrument, received_at)


def candle_from_rest(row: Sequence[object], instrument: Instrument, received_at: int, *, interval: str = "1m") -> Candle:
    """One element of `/api/v3/klines`; whether the bar is closed is for the caller to know. Raises Reject."""
    return to_candle([str(value) for value in row], instrument, received_at, interval, "rest")


def to_trade(values: Sequence[str], instrument: Instrument, received_at: int) -> Trade:
    """From id, price, size, time, and whether the buyer was the maker. Raises Reject."""
    trade_id, price, size, time, buyer_is_maker = values
    maker = {"true": True, "false": False}.get(buyer_is_maker.lower())
    numbers = trade_id.isdecimal() and time.isdecimal() and is_number(price) and is_number(size)
    if maker is None or not numbers:
        raise Reject(f"binance: {instrument.symbol}: not a trade: {','.join(values)}", reason="value")
    return Trade(
        instrument_id=instrument.id,
        time=_micros(time) // 1000 * 1000,
        trade_id=int(trade_id),
        price=price,
        size=size,
        side="sell" if maker else "buy",
        received_at=received_at,
    )


def to_candle(values: Sequence[str], instrument: Instrument, received_at: int, interval: str, origin: str) -> Candle:
    """From the twelve values of a kline; the last means nothing. Raises Reject."""
    if len(values) < 11 or not (values[0].isdecimal() and values[8].isdecimal() and all(map(is_number, values[:11]))):
        raise Reject(f"binance: {instrument.symbol}: not a candle: {','.join(values)}", reason="value")
    return Candle(
        instrument_id=instrument.id,
        interval=interval,
        time=_micros(values[0]),
        open=values[1],
        high=values[2],
        low=values[3],
        close=values[4],
        volume=values[5],
        quote_volume=values[7],
        trades_count=int(values[8]),
        taker_buy_volume=values[9],
        taker_buy_quote_volume=values[10],
        first_trade_id=None,
        last_trade_id=None,
        parts=1,
        origin=origin,
        received_at=received_at,
    )


def _micros(time: str) -> int:
    number = int(time)
    return number * 1000 if number < MILLISECONDS_END else number
