"""Kraken spot: limits, channels and websocket protocol v2.

https://docs.kraken.com/exchange/api-reference/spot-websocket-v2

The symbol is in the rows of a frame, not in the frame. A bar has no closed flag. The book has a checksum and no sequence.

Changes (https://docs.kraken.com/exchange/changelog):
- 2026-04-28: pairs of another venue, such as `BTC/USD:BTNL`, are listed; they are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar, get_args

import msgspec

from ingest.exchanges.kraken import history as past
from ingest.exchanges.kraken import messages, parse
from ingest.marketdata.channels import Candles, Channel, Channels, Quotes, Topic, Trades
from ingest.marketdata.history import by_channel
from ingest.marketdata.rest import MAX_BAD, Rows
from ingest.marketdata.session import Control, Notice, Part, Protocol, Route, RoutedSession, Unknown, one_url
from ingest.marketdata.streamed_book import StreamedBook
from ingest.marketdata.subscriptions import Accepted, Batch, Rejected
from ingest.protocol.decode import UNREADABLE
from ingest.protocol.exchange import CompletenessRules, Evidence, ExchangeLimits, ExchangeOptions, Rate
from ingest.protocol.http import Flow, Request
from ingest.protocol.session import Connection
from ingest.records import SECOND, Instrument

NAME = "kraken"
TRADE_KINDS = ("trade",)
VIA = ("rest",)
# https://docs.kraken.com/api/docs/guides/spot-ratelimits: the websocket's limit is dynamic ("Exceeded msg rate"). No number is
# published for it, for connects, or for public REST, where one call a second is known to be safe. These limits are cautious.
LIMITS = ExchangeLimits(
    ws_url="wss://ws.kraken.com/v2",
    rest_url="https://api.kraken.com",
    alternative="a proxy (exchanges.kraken.proxy); Kraken has one host for all countries",
    sends=Rate(10, 1.0),
    connects=Rate(70, 600.0),
    weight=Rate(1, 2.0),
    subscriptions_per_connection=200,
    silence_seconds=30.0,
)
# The websocket sends no candle for a minute without trades. The heartbeat is the connection's, not that of a subscription.
# Book: https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2
_EVIDENCE: dict[str, Evidence] = {"trade": "ids", "book": "checksum"}
COMPLETENESS = CompletenessRules(dense=TRADE_KINDS, counted=TRADE_KINDS, charted=TRADE_KINDS, evidence=_EVIDENCE)

_channel = partial(Channel, listed=True, decoded=True)
CHANNELS: Channels = {
    "trades": _channel("trade", Trades(messages.TradeRow, parse.trade, dense_ids=TRADE_KINDS)),
    "candles": _channel("ohlc", Candles(messages.BarRow, parse.candle, grace=5 * SECOND)),
    "book": _channel("book", StreamedBook(messages.BookRow, parse.book, verify=parse.agrees, level=parse.level, depth=parse.depth)),
    "quotes": _channel("ticker", Quotes(messages.QuoteRow, parse.quote)),
}
_TOPICS = {channel.topic for channel in CHANNELS.values()}
_CHANNEL_OF = {frame: frame.__struct_config__.tag for frame in get_args(messages.RowsFrame)}
_BUSY = "rate"  # "Exceeded msg rate"
Row = TypeVar("Row")

_decode_rows = msgspec.json.Decoder(messages.RowsFrame).decode
_decode = msgspec.json.Decoder(messages.Frame).decode
_decode_named = msgspec.json.Decoder(messages.Named).decode
_decode_all_named = msgspec.json.Decoder(list[messages.Named]).decode
_decode_parts = msgspec.json.Decoder(list[msgspec.Raw]).decode


def route(frame: bytes) -> Route:
    """Decodes a frame of good rows in one pass, because the symbols are in the rows."""
    try:
        message = _decode_rows(frame)
    except UNREADABLE:
        return route_other(frame)
    channel, rows, snapshot = _CHANNEL_OF[type(message)], message.data, message.type == "snapshot"
    if len(rows) == 1 or len({row.symbol for row in rows}) == 1:
        return (channel, rows[0].symbol), rows, snapshot
    groups = _grouped([row.symbol for row in rows], rows)
    return None, [Part((channel, symbol), group, snapshot) for symbol, group in groups.items()], False


def _grouped(symbols: Sequence[str], rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for symbol, row in zip(symbols, rows, strict=True):
        groups.setdefault(symbol, []).append(row)
    return groups


def route_other(frame: bytes) -> Route:
    """A frame without rows, or with a row that differs from the documentation."""
    message = _decode(frame)
    channel = message.channel
    if channel in _TOPICS:
        parts = _decode_parts(message.data)
        groups = _grouped(_symbols(parts, message.data), parts)
        snapshot = message.type == "snapshot"
        return None, [Part((channel, symbol), b"[%b]" % b",".join(rows), snapshot) for symbol, rows in groups.items()], False
    if message.method:
        return None, reply(message), False
    if channel == "status":  # `system` is online, maintenance, cancel_only or post_only
        return None, (Notice(channel),), False
    return None, () if channel == "heartbeat" else (Unknown(f"unknown channel {channel!r}; known: {', '.join(_TOPICS)}"),), False


def _symbols(parts: Sequence[msgspec.Raw], rows: msgspec.Raw) -> list[str]:
    """The symbol of each row; empty for a row that has none or is no object. Raises UNREADABLE where many rows are none."""
    try:
        return [named.symbol for named in _decode_all_named(rows)]
    except UNREADABLE:
        if len(parts) > MAX_BAD:
            raise
    return [_symbol(part) for part in parts]


def _symbol(row: msgspec.Raw) -> str:
    try:
        return _decode_named(row).symbol
    except UNREADABLE:
        return ""


def reply(message: messages.Frame) -> tuple[Control, ...]:
    """A reply to a message of the session. There is one for each symbol of the message."""
    accepted = message.result
    if not message.success:
        what = " ".join(filter(None, (message.method, accepted.channel, message.symbol or accepted.symbol)))
        return (Rejected(f"{NAME}: {what}: {message.error}", message.req_id, busy=_BUSY in message.error.split()),)
    topics: tuple[Topic, ...] = ((accepted.channel, accepted.symbol),)
    return (Accepted(message.req_id, topics),) if message.method == "subscribe" else ()


def request(method: str, depth: int, batch: Batch) -> str:
    """A message `subscribe` or `unsubscribe`; both have the same parameters."""
    more: dict[str, dict[str, Any]] = {"ohlc": {"interval": 1}, "book": {"depth": depth}, "ticker": {"event_trigger": "bbo"}}
    params = {"channel": batch.template, "symbol": [member.symbol for member in batch.members], **more.get(batch.template, {})}
    return msgspec.json.encode({"method": method, "params": params, "req_id": batch.number}).decode()


def session(connection: Connection, options: ExchangeOptions) -> RoutedSession:
    depth = parse.depth(options)
    protocol = Protocol(
        name=NAME,
        route=route,
        subscribe=partial(request, "subscribe", depth),
        unsubscribe=partial(request, "unsubscribe", depth),
        topics_per_message=100,
        single=True,
        ping=lambda now: '{"method":"ping"}',
        ping_after=10 * SECOND,
    )
    return RoutedSession(protocol, CHANNELS, connection, options)


connections = partial(one_url, "", LIMITS.subscriptions_per_connection)
history = by_channel(NAME, {"trades": past.trades, "candles": past.candles}, VIA)


def listing(options: ExchangeOptions) -> Flow[Rows[Instrument]]:
    """Every pair that the websocket supports."""
    response = yield Request(f"{options.rest_url}/0/public/AssetPairs")
    return parse.listing(response.body)
