"""What KuCoin says by REST: where a websocket is to be opened, the listing, past trades and past bars.

https://www.kucoin.com/docs-new/rest/spot-trading/market-data/introduction

Every answer has an envelope: `code` is "200000" only where all went well. A market's `symbol` never changes; what it trades is in
its `name` (BCHSV-USDT is BSV-USDT).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Raw, Struct, field

from ingest.errors import Reject, Retry
from ingest.exchanges._kucoin_streams import RawBar, TradeRow, to_candle, to_trade
from ingest.protocol.decode import UNREADABLE
from ingest.protocol.exchange import Options
from ingest.protocol.http import Flow, Request
from ingest.records import Candle, Instrument, Trade

T = TypeVar("T")

WS_URL = "wss://ws-api-spot.kucoin.com"  # unless the answer that brings the token names another
BULLET_WEIGHT, SYMBOLS_WEIGHT = 10, 4
_RETRIED = {"200002", "429000", "500000"}  # too many requests, twice; internal error


class _Body(Struct):
    code: str
    msg: str = ""
    data: Raw = Raw(b"null")


class _Server(Struct):
    endpoint: str


class _Bullet(Struct):
    token: str
    servers: list[_Server] = field(name="instanceServers")


class _Listed(Struct):
    symbol: str
    name: str
    price_step: str = field(name="priceIncrement")
    size_step: str = field(name="baseIncrement")
    trading: bool = field(name="enableTrading")


def address(options: Options) -> Flow[str]:
    """Where to connect: a token is good for a day and for the server that is named with it. A configured `ws_url` goes first."""
    response = yield Request(f"{options.rest_url}/api/v1/bullet-public", weight=BULLET_WEIGHT, method="POST")
    bullet = result(response.body, _Bullet)
    servers = [server.endpoint for server in bullet.servers]
    if options.ws_url != WS_URL:
        servers = [options.ws_url]
    if not servers:
        raise Retry(f"kucoin: no server to connect to: {response.body[:200]!r}")
    return f"{servers[0].rstrip('/')}/?token={bullet.token}"


def listing(options: Options) -> Flow[list[Instrument]]:
    """Every spot market."""
    response = yield Request(f"{options.rest_url}/api/v2/symbols", weight=SYMBOLS_WEIGHT)
    return [_instrument(listed) for listed in result(response.body, list[_Listed])]


def _instrument(listed: _Listed) -> Instrument:
    base, _, quote = listed.name.partition("-")
    return Instrument(
        exchange="kucoin",
        symbol=listed.symbol,
        instrument=f"{base}/{quote}",
        base=base,
        quote=quote,
        kind="spot",
        status="trading" if listed.trading else "halted",
        price_step=listed.price_step,
        size_step=listed.size_step,
    )


def result(body: bytes, shape: type[T]) -> T:
    """What an answer holds. Raises Retry where waiting helps, else Reject."""
    try:
        answer = msgspec.json.decode(body, type=_Body)
        if answer.code == "200000":
            return msgspec.json.decode(answer.data, type=shape)
    except UNREADABLE as error:
        raise Reject(f"kucoin: not what REST documents: {error}: {body[:200]!r}", reason="shape") from error
    message = f"kucoin: {answer.code} {answer.msg}"
    if answer.code in _RETRIED:
        raise Retry(message, code=answer.code)
    raise Reject(message, reason="refused", code=answer.code)


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Trade]:
    """Every trade of one answer of /market/histories, oldest first. Raises Retry or Reject."""
    return sorted((_trade(row, instrument, received_at) for row in result(body, list[TradeRow])), key=lambda trade: trade.trade_id)


def _trade(row: TradeRow, instrument: Instrument, received_at: int) -> Trade:
    try:
        return to_trade(row, instrument.id, received_at)
    except ValueError as error:
        raise Reject(f"kucoin: trade: {error}", reason="value") from error


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> list[Candle]:
    """The bars of one answer of /market/candles of 1min, oldest first; whether one is closed is for the caller to know."""
    try:
        return [to_candle(bar, instrument.id, received_at, "rest") for bar in sorted(result(body, list[RawBar]))]
    except ValueError as error:
        raise Reject(f"kucoin: {error}", reason="value") from error
