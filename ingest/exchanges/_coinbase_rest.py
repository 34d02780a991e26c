"""What Coinbase Exchange says by REST of past trades and bars, as the same rows that the websocket gives.

https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-trades
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles

The side is the maker's here too, and both lists are newest first.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ingest.errors import Reject
from ingest.exchanges._coinbase_frames import Bar, RestTrade, decode_bars, decode_trades
from ingest.exchanges._coinbase_streams import to_candle, to_trade
from ingest.protocol.decode import UNREADABLE
from ingest.records import Candle, Instrument, Trade


def trade_from_rest(row: Mapping[str, object], instrument: Instrument, received_at: int) -> Trade:
    """One element of `/products/{id}/trades`. Raises Reject."""
    try:
        return to_trade(msgspec.convert(row, RestTrade), instrument.id, received_at)
    except msgspec.ValidationError as error:
        raise Reject(f"coinbase: {instrument.symbol}: not a trade: {row}: {error}", reason="value") from error


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Trade]:
    """An answer of `/products/{id}/trades`, oldest first. Raises Reject."""
    try:
        rows: list[RestTrade] = decode_trades(body)
    except UNREADABLE as error:
        raise Reject(f"coinbase: {instrument.symbol}: not trades: {error}: {body[:200]!r}", reason="shape") from error
    return [to_trade(row, instrument.id, received_at) for row in reversed(rows)]


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Candle]:
    """An answer of `/products/{id}/candles`, oldest first; which bars are closed is for the caller to know. Raises Reject."""
    try:
        bars: list[Bar] = decode_bars(body)
    except UNREADABLE as error:
        raise Reject(f"coinbase: {instrument.symbol}: not candles: {error}", reason="shape") from error
    for bar in bars:
        if not all(number.is_finite() for number in (bar.low, bar.high, bar.open, bar.close, bar.volume)):
            raise Reject(f"coinbase: {instrument.symbol}: {bar} has a value that is no number", reason="value")
    return [to_candle(bar, instrument, received_at) for bar in reversed(bars)]
