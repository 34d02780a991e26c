"""KuCoin, spot: limits, channels and websocket protocol.

https://www.kucoin.com/docs-new/websocket-api/base-info/introduction

A POST before each opening returns the address and a token. Nothing may be sent before the `welcome`. The server closes a connection
without a ping every 18 seconds, whatever else is sent.

Changes (https://www.kucoin.com/docs-new/change-log):
- 2026-06-03: a new API is beside this one, whose end is not announced.
- 2026-07-17: during a call auction the book is that of the auction, not an order book; no mark in the messages is documented, so it
  is stored as the book, unless its sides cross.
- 2026-08-27: the `welcome` was to have `data` instead of `message`, which was taken back on 2026-09-11; neither is read.
"""

from __future__ import annotations

from functools import partial

import msgspec

from ingest.errors import Retry
from ingest.exchanges.kucoin import history as past
from ingest.exchanges.kucoin import messages, parse
from ingest.marketdata.channels import Candles, Channel, Channels, Quotes, Trades
from ingest.marketdata.history import by_channel
from ingest.marketdata.rest import Rows, decode, rows
from ingest.marketdata.session import Control, Protocol, Ready, Route, RoutedSession, Unknown, one_url
from ingest.marketdata.subscriptions import Accepted, Batch, Rejected
from ingest.marketdata.synced_book import RestSnapshot, SyncedBook
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, ExchangeOptions, Rate
from ingest.protocol.http import Flow, Request
from ingest.protocol.session import Connection
from ingest.records import SECOND, Instrument

NAME = "kucoin"
TRADE_KINDS = ("match",)
VIA = ("rest",)
# "Limitation": 100 messages in 10 s, 100 topics in a message, 300 on a connection, 30 connections a minute. "Rate Limit": a weight
# of 2000 in 30 s for public endpoints, of which half is used. A token is valid for 24 hours.
LIMITS = ExchangeLimits(
    ws_url="wss://ws-api-spot.kucoin.com",  # unless the response with the token names another
    rest_url="https://api.kucoin.com",
    alternative="https://api.kucoin.eu in the EU, https://api.kucoin.com.au in Australia",
    sends=Rate(90, 10.0),
    connects=Rate(25, 60.0),
    weight=Rate(1000, 30.0),
    subscriptions_per_connection=300,
    silence_seconds=40.0,
    life_seconds=23.5 * 3600,
)
# trades share their sequence with the changes of the book ("Orderbook - Increment"), so a jump is not a gap
COMPLETENESS = CompletenessRules(evidence={"book": "sequence"})

LEVELS = 100  # the largest snapshot without a key
SNAPSHOT = RestSnapshot(f"/api/v1/market/orderbook/level2_{LEVELS}?symbol={{}}", parse.snapshot, LEVELS, weight=2)
CHANNELS: Channels = {
    "trades": Channel("/market/match:{}", Trades(messages.TradeRow, parse.trade)),
    # a bar is sent up to two seconds after its last trade; the bar of an empty minute only before that of the next trade
    "candles": Channel("/market/candles:{}_1min", Candles(messages.BarRow, parse.candle, grace=5 * SECOND)),
    "book": Channel("/market/level2:{}", SyncedBook(messages.BookRow, parse.diff, SNAPSHOT)),
    "quotes": Channel("/market/ticker:{}", Quotes(messages.QuoteRow, parse.quote)),
}
_BUSY = {"509"}  # too many messages

_decode = msgspec.json.Decoder(messages.Frame).decode


def route(frame: bytes) -> Route:
    message = _decode(frame)
    if message.type == "message":
        return message.topic, message.data, False
    number = int(message.id) if message.id.isdecimal() else None
    control: Control
    match message.type:
        case "welcome":
            control = Ready()
        case "ack":
            control = Accepted(number)
        case "pong":
            return None, (), False
        case "error":
            text = f"{NAME}: {message.code} {bytes(message.data).decode(errors='replace')}"
            control = Rejected(text, number, busy=str(message.code) in _BUSY)
        case _:
            control = Unknown(f"unknown type {message.type!r}")
    return None, (control,), False


def subscribe(batch: Batch) -> str:
    """Topics of one channel share its prefix: /market/match:BTC-USDT,ETH-USDT."""
    prefix, _, _ = batch.template.partition("{}")
    topic = prefix + ",".join(str(member.topic).removeprefix(prefix) for member in batch.members)
    return msgspec.json.encode({"id": str(batch.number), "type": "subscribe", "topic": topic, "response": True}).decode()


PROTOCOL = Protocol(
    name=NAME,
    route=route,
    subscribe=subscribe,
    topic=str.format,
    topics_per_message=100,
    greets=True,
    ping=lambda now: '{"id":"ping","type":"ping"}',  # no number: an error about it concerns no subscription
    ping_every=18 * SECOND,
)
session = partial(RoutedSession, PROTOCOL, CHANNELS)
connections = partial(one_url, "", LIMITS.subscriptions_per_connection)
history = by_channel(NAME, {"trades": past.trades, "candles": past.candles}, VIA)


def locate(connection: Connection, options: ExchangeOptions) -> Flow[str]:
    """The server of the response with its token, which is valid for a day. A configured `ws_url` has precedence."""
    response = yield Request(f"{options.rest_url}/api/v1/bullet-public", weight=10, method="POST")
    bullet = decode(NAME, messages.ENVELOPE.open(response.body), messages.Bullet)
    servers = [server.endpoint for server in bullet.servers]
    if options.ws_url != LIMITS.ws_url:
        servers = [options.ws_url]
    if not servers:
        raise Retry(f"{NAME}: the response names no websocket server: {response.body[:200]!r}")
    return f"{servers[0].rstrip('/')}/?token={bullet.token}"


def listing(options: ExchangeOptions) -> Flow[Rows[Instrument]]:
    """Every spot market."""
    response = yield Request(f"{options.rest_url}/api/v2/symbols", weight=4)
    return rows(NAME, messages.ENVELOPE.open(response.body), messages.Listed, parse.instrument)
