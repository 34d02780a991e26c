"""Coinbase Exchange: limits, channels and websocket protocol. Candles of one minute come by REST, books from another feed.

https://docs.cdp.coinbase.com/exchange/websocket-feed/overview
https://docs.cdp.coinbase.com/exchange/introduction/rate-limits-overview

The first message of a subscription to `matches` is the latest trade again, as `last_match`. The channels of books either need a
key or have no sequence: books are in `advanced_book`. Where the configuration has another `ws_url`, the path of their feed on it is
`/advanced`.

No change of messages or hosts of market data was announced between January and 2026-07-26.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ingest.exchanges.coinbase import advanced_book, messages, parse
from ingest.exchanges.coinbase import history as past
from ingest.exchanges.coinbase.announced_trades import AnnouncedTrades
from ingest.exchanges.coinbase.polled_candles import PolledCandles
from ingest.marketdata.channels import Channel, Channels, Quotes
from ingest.marketdata.history import by_channel
from ingest.marketdata.rest import Rows, rows
from ingest.marketdata.session import Control, Protocol, Route, RoutedSession, Unknown, one_url
from ingest.marketdata.subscriptions import Accepted, Batch, Rejected
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, ExchangeOptions, Rate
from ingest.protocol.http import Flow, Request
from ingest.protocol.session import Connection, Subscription
from ingest.records import SECOND, Instrument

NAME = "coinbase"
TRADE_KINDS = ("match",)
VIA = ("rest",)
LIMITS = ExchangeLimits(
    ws_url="wss://ws-feed.exchange.coinbase.com",
    rest_url="https://api.exchange.coinbase.com",
    alternative="a proxy (exchanges.coinbase.proxy); Coinbase Exchange has one host for all countries",
    sends=Rate(4, 1.0),  # the limits per address are 100 a second, 8 for books
    connects=Rate(4, 1.0),  # the limit is 8 a second per address
    weight=Rate(8, 1.0),  # the limit is 10 a second per address
    subscriptions_per_connection=200,
    silence_seconds=15.0,  # each product has a heartbeat every second
    message_bytes=8 << 20,  # a snapshot has the whole book: that of BTC-USD has 5 MB; 8 MiB of levels take 0.2 s and 46 MB
)
# By its documentation candles "may be incomplete", and a minute without trades has none: they prove nothing.
# https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
# Heartbeats of trades: https://docs.cdp.coinbase.com/exchange/websocket-feed/channels. The messages of books are numbered.
COMPLETENESS = CompletenessRules(dense=TRADE_KINDS, evidence={"match": "heartbeat", "candles": "rest", "book": "sequence"})

CHANNELS: Channels = {
    "trades": Channel("matches", AnnouncedTrades()),
    "candles": Channel("heartbeat", PolledCandles()),
    "book": advanced_book.BOOK,
    "quotes": Channel("ticker", Quotes(messages.QuoteRow, parse.quote, skip_first=True)),
}
SPREAD = 30 * SECOND  # over which a connection's requests of candles are spread
STEP = SECOND // 4  # at most 4 requests a second
_TOPICS = {
    "match": "matches",
    "last_match": "matches",
    "heartbeat": "matches",
    "ticker": "ticker",
}
_BUSY = "rate limit"

_decode = msgspec.json.Decoder(messages.Head).decode


def route(frame: bytes) -> Route:
    message = _decode(frame)
    channel = _TOPICS.get(message.type)
    if channel is not None:
        return (channel, message.product_id), frame, False
    control: Control
    match message.type:
        case "subscriptions":  # all of the connection, whichever message changed them
            control = Accepted(topics=tuple((each.name, product) for each in message.channels for product in each.product_ids))
        case "error":
            text = f"{NAME}: {message.message}: {message.reason}"
            control = Rejected(text, busy=_BUSY in text.lower())
        case _:
            control = Unknown(f"unknown type {message.type!r}")
    return None, (control,), False


def route_unsubscribed(frame: bytes) -> Route:
    """As `route`, without heartbeats, which arrive also for products whose trades are not subscribed."""
    return (None, (), False) if _decode(frame).type == "heartbeat" else route(frame)


def subscribe(batch: Batch) -> str:
    """With the heartbeats of each product, because a connection without a subscription is closed after 5 seconds."""
    heartbeats = dict.fromkeys(member.symbol for member in batch.members)
    return request("subscribe", {"heartbeat": list(heartbeats), **_products(batch)})


def unsubscribe(batch: Batch) -> str:
    return request("unsubscribe", _products(batch))


def request(kind: str, channels: dict[str, list[str]]) -> str:
    named = [{"name": name, "product_ids": products} for name, products in channels.items()]
    return msgspec.json.encode({"type": kind, "channels": named}).decode()


def _products(batch: Batch) -> dict[str, list[str]]:
    """The products by channel, without heartbeats."""
    names = [channel.topic for name, channel in CHANNELS.items() if name != "candles"]
    products = {name: [member.symbol for member in batch.members if member.template == name] for name in names}
    return {name: found for name, found in products.items() if found}


PROTOCOL = Protocol(
    name=NAME,
    route=route,
    slow_route=route_unsubscribed,
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    topics_per_message=LIMITS.subscriptions_per_connection,
    mixed=True,
)
history = by_channel(NAME, {"trades": past.trades, "candles": past.candles}, VIA)


def connections(subscriptions: Sequence[Subscription], options: ExchangeOptions) -> list[Connection]:
    """Separate connections for the two feeds."""
    books = [each for each in subscriptions if each.channel == "book"]
    others = [each for each in subscriptions if each.channel != "book"]
    advanced = advanced_book.URL if options.ws_url == LIMITS.ws_url else f"{options.ws_url}/advanced"
    return [
        *one_url("", LIMITS.subscriptions_per_connection, others, options),
        *one_url("", advanced_book.BOOKS, books, replace(options, ws_url=advanced)),
    ]


def session(connection: Connection, options: ExchangeOptions) -> RoutedSession:
    if connection.subscriptions[0].channel == "book":
        return advanced_book.session(connection, options)
    polled = [each.instrument.symbol for each in connection.subscriptions if each.channel == "candles"]
    step = min(STEP, SPREAD // max(1, len(polled)))
    candles = PolledCandles({symbol: number * step for number, symbol in enumerate(polled)})
    return RoutedSession(PROTOCOL, {**CHANNELS, "candles": Channel("heartbeat", candles)}, connection, options)


def listing(options: ExchangeOptions) -> Flow[Rows[Instrument]]:
    """Every product, delisted ones included."""
    response = yield Request(f"{options.rest_url}/products")
    return rows(NAME, response.body, messages.Listed, parse.instrument)
