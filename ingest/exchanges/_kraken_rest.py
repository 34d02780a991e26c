"""What Kraken says by REST: the listing, past trades and past bars.

https://docs.kraken.com/exchange/api-reference/spot-rest

Errors come with status 200 and a list of strings. The trades' time has 7 decimals as a JSON number: it is read as Decimal and cut
to the microseconds that the websocket gives, or one trade would be two rows.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeVar

import msgspec
from msgspec import Raw, Struct

from ingest.errors import Reject, Retry
from ingest.protocol.exchange import Options
from ingest.protocol.http import Flow, Request
from ingest.records import SECOND, Candle, Instrument, Trade


class _Pair(Struct):
    pair_decimals: int
    lot_decimals: int
    wsname: str = ""  # dark pools have none
    status: str = "online"
    tick_size: str = "0"


_NEW_NAMES = {"XBT": "BTC", "XDG": "DOGE"}  # websocket v2 has the new names, REST still the old ones
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}
_UNIFIED = {"LUNA": "LUNC", "LUNA2": "LUNA", "UST": "USTC", "REP": "REPV1", "REPV2": "REP"}  # ccxt's
_HALTED = {"cancel_only", "post_only", "maintenance"}  # in which nothing can trade


def listing(options: Options) -> Flow[list[Instrument]]:
    """Every pair that the websocket knows."""
    response = yield Request(f"{options.rest_url}/0/public/AssetPairs")
    pairs = result(response.body, dict[str, _Pair])
    return [_instrument(pair) for pair in pairs.values() if pair.wsname]


def _instrument(pair: _Pair) -> Instrument:
    base, _, quote = (_NEW_NAMES.get(name, name) for name in pair.wsname.partition("/"))
    unified = _UNIFIED.get(base, base), _UNIFIED.get(quote, quote)
    return Instrument(
        exchange="kraken",
        symbol=f"{base}/{quote}",
        instrument="/".join(unified),
        base=unified[0],
        quote=unified[1],
        kind="spot",
        status="halted" if pair.status in _HALTED else "trading",
        price_step=_step(pair.tick_size, pair.pair_decimals),
        size_step=_step("0", pair.lot_decimals),
    )


def _step(tick: str, places: int) -> str:
    """The step, with as many decimals as the exchange prints: the checksum needs those, and a tick may be 0.5 of 2 decimals."""
    step = Decimal(tick) or Decimal(1).scaleb(-places)
    return f"{step:.{places}f}"


# --- REST -------------------------------------------------------------------------------------------------------------

T = TypeVar("T")


class _Body(Struct):
    error: list[str] = []
    result: Raw = Raw(b"null")


class RestTrade(Struct, frozen=True, array_like=True):
    """One row of /0/public/Trades; `time` in seconds, kept exact."""

    price: str
    size: str
    time: Decimal
    side: Literal["b", "s"]
    order_type: str
    misc: str
    trade_id: int


class RestBar(Struct, frozen=True, array_like=True):
    """One row of /0/public/OHLC; `time` is its open in seconds."""

    time: int
    open: str
    high: str
    low: str
    close: str
    vwap: str
    volume: str
    trades: int


_RETRIED = ("EService:", "EAPI:Rate limit", "EGeneral:Too many requests", "EGeneral:Internal error", "EGeneral:Temporary lockout")


def result(body: bytes, shape: type[T]) -> T:
    """What an answer of REST holds. Errors come with status 200: Retry where waiting helps, else Reject."""
    try:
        answer = msgspec.json.decode(body, type=_Body)
        if not answer.error:
            return msgspec.json.decode(answer.result, type=shape)
    except ValueError as error:
        raise Reject(f"kraken: not what REST documents: {error}: {body[:200]!r}", reason="shape") from error
    message = f"kraken: {', '.join(answer.error)}"
    if answer.error[0].startswith(_RETRIED):
        raise Retry(message, code=answer.error[0])
    raise Reject(message, reason="refused", code=answer.error[0])


def pair_name(instrument: Instrument) -> str:
    """What REST calls a market: XBTUSD."""
    return "".join(_OLD_NAMES.get(name, name) for name in instrument.symbol.split("/"))


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Trade]:
    """Every trade of one answer of /0/public/Trades."""
    return trades_and_cursor(body, instrument, received_at)[0]


def trades_and_cursor(body: bytes, instrument: Instrument, received_at: int) -> tuple[list[Trade], int]:
    """Every trade of one answer of /0/public/Trades, and its `last`: the nanosecond of the last of them. Raises Reject."""
    pairs = result(body, dict[str, list[RestTrade] | str])
    last = pairs.get("last")
    if not isinstance(last, str) or not last.isdecimal():
        raise Reject(f"kraken: {instrument.symbol}: trades without 'last': {body[:200]!r}", reason="shape")
    rows = (row for rows in pairs.values() if isinstance(rows, list) for row in rows)
    return [trade_from_rest(row, instrument, received_at) for row in rows], int(last)


def trade_from_rest(row: RestTrade, instrument: Instrument, received_at: int) -> Trade:
    side = "buy" if row.side == "b" else "sell"
    return Trade(instrument.id, int(row.time * SECOND), row.trade_id, row.price, row.size, side, received_at)


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Candle]:
    """The closed bars of one answer of /0/public/OHLC?interval=1; `last` is the open of the latest closed one."""
    pairs = result(body, dict[str, list[RestBar] | int])
    last = pairs.get("last")
    rows = [row for rows in pairs.values() if isinstance(rows, list) for row in rows]
    return [candle_from_rest(row, instrument, received_at) for row in rows if isinstance(last, int) and row.time <= last]


def candle_from_rest(row: RestBar, instrument: Instrument, received_at: int) -> Candle:
    return Candle(
        instrument_id=instrument.id,
        interval="1m",
        time=row.time * SECOND,
        open=row.open,
        high=row.high,
        low=row.low,
        close=row.close,
        volume=row.volume,
        quote_volume=None,
        trades_count=row.trades,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        first_trade_id=None,
        last_trade_id=None,
        parts=1,
        origin="rest",
        received_at=received_at,
    )
