"""Binance, spot: limits, channels and websocket protocol.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits

Every event is in an envelope that begins with the name of its stream, which is the topic. A row is the envelope with its event, so
that a frame is decoded once.

Changes (https://github.com/binance/binance-spot-api-docs, CHANGELOG.md):
- 2025-11-12: the recipe of a local book is corrected: only a first id above the last one + 1 is a miss.
- 2025-12-15: a symbol may have characters beyond ASCII.
- 2026-03-25: REST has /api/v3 only; /api/v1 is removed.
- 2026-05-08: `serverShutdown` announces the end of a connection; since 2026-06-09 without a fixed time.
- 2026-07-07: a market may be `CANCEL_ONLY`, which is `halted` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from ingest.exchanges.binance import history as past
from ingest.exchanges.binance import messages, parse
from ingest.exchanges.binance.messages import Frame
from ingest.marketdata.channels import Candles, Channel, Channels, Quotes, Trades
from ingest.marketdata.history import by_channel
from ingest.marketdata.rest import Rows, decode, rows
from ingest.marketdata.session import Control, Frames, Part, Protocol, Route, RoutedSession, Unknown, one_url
from ingest.marketdata.subscriptions import Accepted, Batch, Rejected
from ingest.marketdata.synced_book import RestSnapshot, SyncedBook
from ingest.protocol.decode import UNREADABLE
from ingest.protocol.exchange import CompletenessRules, Evidence, ExchangeLimits, ExchangeOptions, Rate
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Flow, Request
from ingest.protocol.session import Output, Reconnect
from ingest.records import Instrument

NAME = "binance"
TRADE_KINDS = ("trade", "aggTrade")
VIA = ("rest", "archive")
LIMITS = ExchangeLimits(
    ws_url="wss://stream.binance.com:9443",
    rest_url="https://api.binance.com",
    alternative="wss://data-stream.binance.vision with https://data-api.binance.vision, which serve market data only",
    sends=Rate(4, 1.0),  # "5 incoming messages per second", and our pongs count
    connects=Rate(300, 300.0),
    weight=Rate(3000, 60.0),  # half of 6000
    subscriptions_per_connection=1024,
    silence_seconds=60.0,  # the server pings every 20 s
    life_seconds=23.5 * 3600,  # the server closes a connection after 24 h
)
# A candle's `n`, `f` and `L` refer to single trades. Every minute has a candle while the exchange is up, with or without trades:
# https://github.com/binance/binance-public-data/issues/153. A quote's `u` numbers the changes of the book, not the quotes.
_EVIDENCE: dict[str, Evidence] = {"trade": "ids", "aggTrade": "ids", "candles": "sequence", "book": "sequence"}
COMPLETENESS = CompletenessRules(dense=TRADE_KINDS, counted=("trade",), charted=("trade",), empty_candles=True, evidence=_EVIDENCE)

SNAPSHOTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))  # levels of a side, weight of the request


def snapshot(options: ExchangeOptions) -> RestSnapshot:
    """The smallest snapshot with twice `book_depth` levels, because differences remove levels until the next snapshot."""
    limit, weight = next((size for size in SNAPSHOTS if size[0] >= 2 * options.book_depth), SNAPSHOTS[-1])
    return RestSnapshot(f"/api/v3/depth?symbol={{}}&limit={limit}", parse.snapshot, limit, weight)


CHANNELS: Channels = {
    "trades": Channel("{}@{kind}", Trades(Frame[messages.TradeEvent], parse.trade, dense_ids=TRADE_KINDS)),  # see `bind`
    "candles": Channel("{}@kline_1m", Candles(Frame[messages.KlineEvent], parse.candle, every_minute=True)),
    "book": Channel("{}@depth@100ms", SyncedBook(Frame[messages.DepthEvent], parse.diff, snapshot)),
    "quotes": Channel("{}@bookTicker", Quotes(Frame[messages.QuoteEvent], parse.quote)),
}
_NAME_AT = len(b'{"stream":"')

_decode = msgspec.json.Decoder(messages.Other).decode
_decode_aggregate = msgspec.json.Decoder(Frame[messages.AggTradeEvent]).decode


def route(frame: bytes) -> Route:
    # cut out, not decoded: 70 ns instead of 300; `slow_route` decodes a frame that begins otherwise
    return frame[_NAME_AT : frame.find(b'"', _NAME_AT)], frame, False


def _name(frame: bytes) -> bytes:
    """The stream's name in a frame with other white space; empty for none."""
    try:
        return _decode(frame).stream.encode()
    except (*UNREADABLE, ValueError):
        return b""


def slow_route(frame: bytes) -> Route:
    message = _decode(frame)
    problem = message.error or (None if message.code is None else messages.Problem(message.code, message.msg))
    control: Control
    if problem is not None:
        number = message.id if isinstance(message.id, int) else None
        control = Rejected(f"{NAME}: request {message.id} refused with code {problem.code}: {problem.msg}", number)
    elif "serverShutdown" in (message.event, message.data.event):
        control = Reconnect("serverShutdown", planned=True)
    elif message.stream:
        return message.stream.encode(), frame, False
    elif message.result is None:
        control = Accepted(message.id if isinstance(message.id, int) else None)
    else:
        control = Unknown(f"neither a known event nor a reply: {message.event or message.data.event!r}")
    return None, (control,), False


def subscribe(batch: Batch) -> str:
    names = [_topic(member.template, member.symbol).decode() for member in batch.members]
    return msgspec.json.encode({"method": "SUBSCRIBE", "params": names, "id": batch.number}).decode()


def _topic(template: str, symbol: str) -> bytes:
    return template.format(symbol.lower()).encode()


def bind(session: RoutedSession) -> Frames:
    """A `feed` that cuts out the topic without a call, which saves 8 % per trade; `aggTrade` rows get a decoder of their own."""
    find, last_message_at, control = session.readers.get, session.last_message_at, session.control
    for topic, (index, _, take, unreadable) in session.readers.items():
        if isinstance(topic, bytes) and topic.endswith(b"@aggTrade"):
            session.readers[topic] = (index, _decode_aggregate, take, unreadable)

    def feed(frame: bytes, received_at: int) -> Sequence[Output]:
        reader = find(frame[_NAME_AT : frame.find(b'"', _NAME_AT)]) or find(_name(frame))
        if reader is None:
            return control(b"", frame, frame, received_at)
        index, decode, take, _ = reader
        last_message_at[index] = received_at
        try:
            return take(decode(frame), received_at, False)
        except (*UNREADABLE, ValueError) as error:
            return session.unread(reader, error, Part(None, frame), frame, received_at)

    return feed


PROTOCOL = Protocol(
    name=NAME, route=route, slow_route=slow_route, bind=bind, topic=_topic, subscribe=subscribe, topics_per_message=200, mixed=True
)
session = partial(RoutedSession, PROTOCOL, CHANNELS)
connections = partial(one_url, "/stream", LIMITS.subscriptions_per_connection)
opening = past.opening
_by_rest = by_channel(NAME, {"trades": past.trades, "candles": past.candles}, VIA)
_by_archive = by_channel(NAME, {"trades": past.files, "candles": past.files}, VIA)


def history(request: HistoryRequest, options: ExchangeOptions, via: str) -> History:
    """A request by id always goes to REST, because the files of the archive are found by time."""
    return (_by_archive if via == "archive" and request.first_id is None else _by_rest)(request, options, via)


def listing(options: ExchangeOptions) -> Flow[Rows[Instrument]]:
    """Every spot market. The exchange does not list delisted markets."""
    response = yield Request(f"{options.rest_url}/api/v3/exchangeInfo", weight=20)
    return rows(NAME, decode(NAME, response.body, messages.Listing).symbols, messages.Listed, parse.instrument)
