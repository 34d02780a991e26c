"""What OKX says by REST: the listing, past trades and past bars.

https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments

Errors come with status 200 too: `code` is "0" only where all went well.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from ingest.errors import Reject, Retry
from ingest.exchanges._okx_streams import BarRow, TradeRow, to_candle, to_trade
from ingest.protocol.decode import UNREADABLE
from ingest.protocol.exchange import Options
from ingest.protocol.http import Flow, Request
from ingest.records import Candle, Instrument, Trade

T = TypeVar("T")


class _Body(Struct):
    code: str
    msg: str = ""
    data: Raw = Raw(b"[]")


class _Listed(Struct):
    instId: str  # noqa: N815, OKX's name
    baseCcy: str  # noqa: N815
    quoteCcy: str  # noqa: N815
    state: str
    tickSz: str  # noqa: N815
    lotSz: str  # noqa: N815


_RETRIED = {"50001", "50004", "50011", "50013", "50026", "50040"}  # unavailable, timeout, too many requests, busy, system error
_STATUS = {"live": "trading", "expired": "delisted"}  # the rest (suspend, preopen, test): listed, and nothing trades


def listing(options: Options) -> Flow[list[Instrument]]:
    """Every spot market."""
    response = yield Request(f"{options.rest_url}/api/v5/public/instruments?instType=SPOT")
    return [_instrument(listed) for listed in result(response.body, list[_Listed])]


def _instrument(listed: _Listed) -> Instrument:
    return Instrument(
        exchange="okx",
        symbol=listed.instId,
        instrument=f"{listed.baseCcy}/{listed.quoteCcy}",
        base=listed.baseCcy,
        quote=listed.quoteCcy,
        kind="spot",
        status=_STATUS.get(listed.state, "halted"),
        price_step=listed.tickSz or None,  # empty before the market opens
        size_step=listed.lotSz or None,
    )


def result(body: bytes, shape: type[T]) -> T:
    """What an answer holds. Raises Retry where waiting helps, else Reject."""
    try:
        answer = msgspec.json.decode(body, type=_Body)
        if answer.code == "0":
            return msgspec.json.decode(answer.data, type=shape)
    except UNREADABLE as error:
        raise Reject(f"okx: not what REST documents: {error}: {body[:200]!r}", reason="shape") from error
    message = f"okx: {answer.code} {answer.msg}"
    if answer.code in _RETRIED:
        raise Retry(message, code=answer.code)
    raise Reject(message, reason="refused", code=answer.code)


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Trade]:
    """Every trade of one answer of /api/v5/market/trades or history-trades: single fills, as `trades-all` has them."""
    return [trade_from_rest(row, instrument, received_at) for row in result(body, list[TradeRow])]


def trade_from_rest(row: TradeRow, instrument: Instrument, received_at: int) -> Trade:
    """Raises Reject where a value is none."""
    try:
        return to_trade(row, instrument.id, received_at)
    except ValueError as error:
        raise Reject(f"okx: trade {row.tradeId!r}: {error}", reason="value") from error


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Candle]:
    """The closed bars of one answer of /api/v5/market/candles or history-candles with bar=1m."""
    candles = (candle_from_rest(row, instrument, received_at) for row in result(body, list[BarRow]))
    return [candle for candle in candles if candle is not None]


def candle_from_rest(row: BarRow, instrument: Instrument, received_at: int) -> Candle | None:
    """None for the running bar. Raises Reject where a value is none."""
    try:
        return to_candle(row, instrument.id, received_at, "rest")
    except ValueError as error:
        raise Reject(f"okx: {error}", reason="value") from error
