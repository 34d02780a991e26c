"""From the messages of Coinbase Exchange to records. A bad value raises ValueError.

`side` is the **maker's**, on the websocket and in REST.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ingest.exchanges.coinbase.messages import BarRow, Listed, Match, QuoteRow, RestTrade
from ingest.marketdata.rest import Rows, rows
from ingest.marketdata.values import (
    decimal_digits,
    digits,
    from_iso,
    micros,
    minute_bar,
    price_and_size,
    price_step,
    quote_side,
)
from ingest.records import SECOND, Candle, Instrument, Quote, Trade

_TAKER = {"buy": "sell", "sell": "buy"}
_UNIFIED = {"CGLD": "CELO"}  # the exchange's name of a currency -> ccxt's


def trade(row: Match | RestTrade, instrument_id: int, received_at: int) -> Trade:
    price, size = price_and_size(row.price, row.size)
    return Trade(instrument_id, from_iso(row.time), row.trade_id, price, size, _TAKER[row.side], received_at)


def quote(row: QuoteRow, instrument_id: int, received_at: int) -> Quote:
    bid, bid_size = _side(row.best_bid, row.best_bid_size)
    ask, ask_size = _side(row.best_ask, row.best_ask_size)
    return Quote(instrument_id, from_iso(row.time), "", bid, bid_size, ask, ask_size, row.sequence, received_at)


def _side(price: str, size: str | None) -> tuple[str | None, str | None]:
    """Messages of 2021 have prices without sizes."""
    return quote_side(price, size) if size is not None else (digits(price) if price.strip("0.") else None, None)


def candle(row: BarRow, instrument_id: int, received_at: int) -> Candle:
    time, numbers = micros(row.start * SECOND), (row.open, row.high, row.low, row.close, row.volume)
    return minute_bar(instrument_id, time, numbers, origin="rest", received_at=received_at, read=decimal_digits)


def instrument(listed: Listed) -> Instrument:
    base, quote = (_UNIFIED.get(name, name) for name in (listed.base_currency, listed.quote_currency))
    steps = price_step(listed.quote_increment), price_step(listed.base_increment)
    return Instrument("coinbase", listed.id, f"{base}/{quote}", base, quote, "spot", _status(listed), *steps)


def _status(listed: Listed) -> str:
    if listed.status == "delisted":
        return "delisted"
    trading = listed.status == "online" and not listed.trading_disabled and not listed.cancel_only
    return "trading" if trading else "halted"


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Trade]:
    """A response of `/products/{id}/trades`, oldest first. Raises Reject."""
    trades = rows("coinbase", body, RestTrade, lambda row: trade(row, instrument.id, received_at))
    return trades.ordered(lambda trade: trade.trade_id)


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Candle]:
    """A response of `/products/{id}/candles`, oldest first, open bars included. Raises Reject."""
    bars = rows("coinbase", body, BarRow, lambda row: candle(row, instrument.id, received_at))
    return bars.ordered(lambda bar: bar.time)


def candles_path(symbol: str, first: int, last: int, seconds: int = 60) -> str:
    """The path of a request of the bars that begin in [first, last] (microseconds); each bar has `seconds`."""
    start, end = (f"{datetime.fromtimestamp(time // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}" for time in (first, last))
    return f"/products/{symbol}/candles?granularity={seconds}&start={start}&end={end}"
