"""Deribit: limits, channels and websocket protocol.

https://docs.deribit.com/

The unit of a `size` is **USD** for inverse perpetuals and futures (BTC/USD:BTC), the base currency for options, linear futures and
spot; it is never contracts. A candle's volume is in base and its quote volume in quote for every instrument.

Changes (https://docs.deribit.com/changelogs/jsonrpc, https://docs.deribit.com/changelogs/starbase):
- 2026-01-13: the values of an instrument's `state` are new, and an open set.
- 2026-07-20: numbers may have exponents (`1.0e3`), the order of keys changes, and trades have further keys.
A second subscription to a book without `unsubscribe` is accepted and sends no snapshot.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from ingest.exchanges.deribit import history as past
from ingest.exchanges.deribit import messages, parse
from ingest.marketdata.channels import Candles, Channel, Channels, Quotes, Trades
from ingest.marketdata.history import by_channel
from ingest.marketdata.rest import Rows, decode, rows
from ingest.marketdata.session import Control, Protocol, Route, RoutedSession, Unknown, one_url
from ingest.marketdata.streamed_book import StreamedBook
from ingest.marketdata.subscriptions import Accepted, Batch, Rejected
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, ExchangeOptions, Rate
from ingest.protocol.http import Flow, Request
from ingest.protocol.session import Send
from ingest.records import SECOND, Instrument

NAME = "deribit"
TRADE_KINDS = ("trade",)
VIA = ("rest",)
# "Rate Limits": a subscription costs 3000 of 30,000 credits, another request 500 of 50,000; 10,000 are refilled a second, of which
# half is used. 32 connections per address; each HTTP request counts as one.
LIMITS = ExchangeLimits(
    ws_url="wss://www.deribit.com/ws/api/v2",
    rest_url="https://www.deribit.com",
    alternative="a proxy (exchanges.deribit.proxy)",
    sends=Rate(3, 1.0),
    connects=Rate(1, 1.0),
    weight=Rate(10, 1.0),
    subscriptions_per_connection=200,
    silence_seconds=70.0,  # the session requests a heartbeat every 30 s
    stale_seconds=600.0,  # most options trade rarely
)
# Trades: `trade_seq`. Book: `prev_change_id` is the last `change_id`.
COMPLETENESS = CompletenessRules(dense=TRADE_KINDS, evidence={"trade": "ids", "book": "sequence"})

CHANNELS: Channels = {  # 100ms: `raw` needs a key
    "trades": Channel("trades.{}.100ms", Trades(messages.TradeRow, parse.trade, dense_ids=TRADE_KINDS), listed=True),
    "candles": Channel("chart.trades.{}.1", Candles(messages.BarRow, parse.candle, grace=5 * SECOND)),
    "book": Channel("book.{}.100ms", StreamedBook(messages.BookRow, parse.book, level=parse.level)),
    "quotes": Channel("ticker.{}.100ms", Quotes(messages.QuoteRow, parse.quote)),
}
_BUSY = {10028}  # too_many_requests

_decode = msgspec.json.Decoder(messages.Frame).decode
_decode_channels = msgspec.json.Decoder(list[str]).decode


def route(frame: bytes) -> Route:
    message = _decode(frame)
    params = message.params
    control: Control | None = None
    if message.method == "subscription":
        return params.channel, params.data, False
    if message.error is not None:
        error = message.error
        control = Rejected(f"{NAME}: {error.code} {error.message}", message.id, busy=error.code in _BUSY)
    elif message.id:  # the reply lists the accepted channels; an unknown channel is left out without an error
        control = Accepted(message.id, tuple(_decode_channels(message.result)), only=True)
    elif message.id is None and message.method != "heartbeat":
        control = Unknown(f"unknown method {message.method!r}")
    elif params.type == "test_request":
        control = Send(call(0, "public/test", {}), keepalive=True)
    return None, () if control is None else (control,), False


def call(number: int, method: str, params: dict[str, Any]) -> str:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).decode()


def request(method: str, batch: Batch) -> str:
    return call(batch.number, method, {"channels": [member.topic for member in batch.members]})


PROTOCOL = Protocol(
    name=NAME,
    route=route,
    hello=lambda now: call(0, "public/set_heartbeat", {"interval": 30}),
    subscribe=partial(request, "public/subscribe"),
    unsubscribe=partial(request, "public/unsubscribe"),
    topic=str.format,
    topics_per_message=100,
    mixed=True,
)
session = partial(RoutedSession, PROTOCOL, CHANNELS)
connections = partial(one_url, "", LIMITS.subscriptions_per_connection)
history = by_channel(NAME, {"trades": past.trades, "candles": past.candles}, VIA)


def listing(options: ExchangeOptions) -> Flow[Rows[Instrument]]:
    """Every spot market, perpetual, future and option that has not expired."""
    response = yield Request(f"{options.rest_url}/api/v2/public/get_instruments?currency=any&expired=false")
    return rows(NAME, decode(NAME, response.body, messages.Body).result, messages.Listed, parse.instrument)
