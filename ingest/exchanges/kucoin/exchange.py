"""KuCoin, spot: limits, channels, and how its websocket speaks.

https://www.kucoin.com/docs-new/websocket-api/base-info/introduction

A POST before each opening gives the address, with a token. Nothing may be sent before the `welcome`, and the connection is closed
unless it is pinged every 18 seconds, whatever it sends.
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
# "Limitation": 100 messages in 10 s, 100 topics in one of them, 300 on a connection, 30 connections a minute. "Rate Limit": 2000 of
# weight in 30 s for what is public, half of it taken. A token is good for 24 hours.
LIMITS = ExchangeLimits(
    ws_url="wss://ws-api-spot.kucoin.com",  # unless the answer that brings the token names another
    rest_url="https://api.kucoin.com",
    alternative="in the EU use https://api.kucoin.eu, in Australia https://api.kucoin.com.au",
    sends=Rate(90, 10.0),
    connects=Rate(25, 60.0),
    weight=Rate(1000, 30.0),
    subscriptions_per_connection=300,
    silence_seconds=40.0,
    life_seconds=23.5 * 3600,
)
COMPLETENESS = CompletenessRules()  # fills share their sequence with the orders of the book: a jump of it is no gap

LEVELS = 100  # of a snapshot that needs no key
SNAPSHOT = RestSnapshot(f"/api/v1/market/orderbook/level2_{LEVELS}?symbol={{}}", parse.snapshot, LEVELS, weight=2)
CHANNELS: Channels = {
    "trades": Channel("/market/match:{}", Trades(messages.TradeRow, parse.trade)),
    # a bar is pushed up to two seconds after its last trade; that of an empty minute comes only before the next trade's
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
    """A token is good for a day, on the server that is named with it. A configured `ws_url` goes first."""
    response = yield Request(f"{options.rest_url}/api/v1/bullet-public", weight=10, method="POST")
    bullet = decode(NAME, messages.ENVELOPE.open(response.body), messages.Bullet)
    servers = [server.endpoint for server in bullet.servers]
    if options.ws_url != LIMITS.ws_url:
        servers = [options.ws_url]
    if not servers:
        raise Retry(f"{NAME}: no server to connect to: {response.body[:200]!r}")
    return f"{servers[0].rstrip('/')}/?token={bullet.token}"


def listing(options: ExchangeOptions) -> Flow[Rows[Instrument]]:
    """Every spot market."""
    response = yield Request(f"{options.rest_url}/api/v2/symbols", weight=4)
    return rows(NAME, messages.ENVELOPE.open(response.body), messages.Listed, parse.instrument)
