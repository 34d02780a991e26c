"""What Gate says by REST: the listing, snapshots of books, past trades and past bars.

https://www.gate.com/docs/developers/apiv4/en/#spot

A bar is a list in an order of its own: time, volume in quote, close, high, low, open, volume in base, whether it is closed.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct, field

from ingest.errors import Reject
from ingest.exchanges._gate_streams import Bar, TradeRow, to_candle, to_trade
from ingest.protocol.decode import UNREADABLE, Number
from ingest.protocol.exchange import Options
from ingest.protocol.http import Flow, Request
from ingest.records import Candle, Instrument, Trade

T = TypeVar("T")

_RestBar = tuple[str, Number, Number, Number, Number, Number, Number, str]


class _Pair(Struct):
    id: str
    base: str
    quote: str
    price_digits: int = field(name="precision")
    size_digits: int = field(name="amount_precision")
    trade_status: str


class _RestTrade(Struct):
    """`sequence_id` is what the websocket calls `id_market`; before 2025 there was none, and ids were those of all markets."""

    id: str
    create_time_ms: str
    side: str
    amount: str
    price: str
    sequence_id: str = ""


def listing(options: Options) -> Flow[list[Instrument]]:
    """Every spot market. One that can only be bought or only be sold is `halted` like one that cannot be traded."""
    response = yield Request(f"{options.rest_url}/api/v4/spot/currency_pairs")
    return [_instrument(pair) for pair in result(response.body, list[_Pair])]


def _instrument(pair: _Pair) -> Instrument:
    return Instrument(
        exchange="gate",
        symbol=pair.id,
        instrument=f"{pair.base}/{pair.quote}",
        base=pair.base,
        quote=pair.quote,
        kind="spot",
        status="trading" if pair.trade_status == "tradable" else "halted",
        price_step=_step(pair.price_digits),
        size_step=_step(pair.size_digits),
    )


def _step(digits: int) -> str:
    return f"0.{'0' * (digits - 1)}1" if digits > 0 else "1"


def result(body: bytes, shape: type[T]) -> T:
    """An answer of that shape. Raises Reject."""
    try:
        return msgspec.json.decode(body, type=shape)
    except UNREADABLE as error:
        raise Reject(f"gate: not what REST documents: {error}: {body[:200]!r}", reason="shape") from error


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Trade]:
    """Every trade of one answer of /spot/trades, in the order in which they stand there. Raises Reject."""
    return [_trade(row, instrument, received_at) for row in result(body, list[_RestTrade])]


def _trade(row: _RestTrade, instrument: Instrument, received_at: int) -> Trade:
    number = row.sequence_id or row.id
    try:
        return to_trade(TradeRow(int(number), row.create_time_ms, row.side, row.amount, row.price), instrument.id, received_at)
    except ValueError as error:
        raise Reject(f"gate: trade '{number}': {error}", reason="value") from error


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Candle]:
    """The closed bars of one answer of /spot/candlesticks with interval=1m, oldest first. Raises Reject."""
    bars = [_bar(row) for row in sorted(result(body, list[_RestBar]))]
    try:
        return [to_candle(bar, instrument.id, received_at, "rest") for bar in bars if bar.closed]
    except ValueError as error:
        raise Reject(f"gate: {error}", reason="value") from error


def _bar(row: _RestBar) -> Bar:
    time, quote_volume, close, high, low, opened, volume, closed = row
    return Bar(time, opened, high, low, close, quote_volume, volume, closed == "true")
