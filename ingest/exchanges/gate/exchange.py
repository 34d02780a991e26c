"""Gate, spot: limits, channels and websocket protocol.

https://www.gate.com/docs/developers/apiv4/ws/en/

A trade's `id_market` numbers the fills of one market without gaps and is stored. Messages before 2025 have only `id`, which numbers
those of all markets. `spot.tickers` has neither sizes nor a time, so quotes come from `spot.book_ticker`. A book has 100 levels.

Changes (the page above):
- 2026-07-25: `spot.system` with type `upgrade` announces the end of a connection.
- 2026-08-31: some markets share one book (BTC_USD is traded as BTC/USDC). `stock`, `money` and `trade_mode` of a trade say which
  assets were exchanged; they are not stored, and `currency_pair` stays the market.
"""

from __future__ import annotations

from functools import partial

import msgspec

from ingest.exchanges.gate import history as past
from ingest.exchanges.gate import messages, parse
from ingest.marketdata.channels import Candles, Channel, Channels, Quotes, Trades
from ingest.marketdata.history import by_channel
from ingest.marketdata.rest import Rows, rows
from ingest.marketdata.session import Control, Notice, Protocol, Route, RoutedSession, Unknown, one_url
from ingest.marketdata.subscriptions import Accepted, Batch, Rejected
from ingest.marketdata.synced_book import RestSnapshot, SyncedBook
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, ExchangeOptions, Rate
from ingest.protocol.http import Flow, Request
from ingest.records import SECOND, Instrument

NAME = "gate"
TRADE_KINDS = ("trade",)
VIA = ("rest",)
# "Frequency limit rule": 200 calls in 10 s to each public endpoint, of which half is used. No limit of websockets is documented.
# The staff recommends at most 100 connections (gateio/gatews, issue 25). Slow readers are cut off, hence few subscriptions each.
LIMITS = ExchangeLimits(
    ws_url="wss://api.gateio.ws/ws/v4",
    rest_url="https://api.gateio.ws",
    alternative="wss://api.gateeu.com/ws/v4 with https://api.gateeu.com in the EU",
    sends=Rate(10, 1.0),
    connects=Rate(2, 1.0),
    weight=Rate(100, 10.0),
    subscriptions_per_connection=100,
    silence_seconds=50.0,
)
# ids are dense, but a message may stand for several fills (`range`), which the stored trade does not show; book: `U` follows `u`
COMPLETENESS = CompletenessRules(empty_candles=True, evidence={"trade": "ids", "candles": "sequence", "book": "sequence"})

LEVELS = 100  # of a snapshot, and of the differences that come every 100 ms
SNAPSHOT = RestSnapshot(f"/api/v4/spot/order_book?currency_pair={{}}&limit={LEVELS}&with_id=true", parse.snapshot, LEVELS)
CHANNELS: Channels = {
    "trades": Channel("spot.trades", Trades(messages.TradeRow, parse.trade, dense_ids=TRADE_KINDS, first_id=parse.first_id)),
    # by its documentation the message with w true may be missing
    "candles": Channel("spot.candlesticks", Candles(messages.Bar, parse.candle, every_minute=True, is_open=parse.is_open), batch=1),
    "book": Channel("spot.order_book_update", SyncedBook(messages.BookRow, parse.diff, SNAPSHOT, exact=True), batch=1),
    "quotes": Channel("spot.book_ticker", Quotes(messages.QuoteRow, parse.quote)),
}

_TOPICS = {channel.topic for channel in CHANNELS.values()}

_decode = msgspec.json.Decoder(messages.Frame).decode
_decode_name = msgspec.json.Decoder(messages.Named).decode


def route(frame: bytes) -> Route:
    message = _decode(frame)
    channel = message.channel
    if message.event == "update" and channel in _TOPICS:
        name = _decode_name(message.result)
        return (channel, name.currency_pair or name.s or name.n.removeprefix("1m_")), message.result, False
    if message.error is not None:
        error = message.error
        return None, (Rejected(f"{NAME}: {channel}: {error.code} {error.message}", message.id),), False
    control: Control
    match message.event, channel:
        case "update", "spot.system":  # documented since 2026-07-25: type "upgrade"
            control = Notice(channel)
        case "subscribe", _:
            control = Accepted(message.id)
        case ("unsubscribe", _) | (_, "spot.pong"):
            return None, (), False
        case _:
            control = Unknown(f"unknown event {message.event!r} of {channel}")
    return None, (control,), False


def subscribe(batch: Batch) -> str:
    first = batch.members[0]
    match first.channel:
        case "candles":
            payload = ["1m", first.symbol]
        case "book":
            payload = [first.symbol, "100ms"]
        case _:
            payload = [member.symbol for member in batch.members]
    head = {"time": batch.now // SECOND, "id": batch.number, "channel": batch.template, "event": "subscribe"}
    return msgspec.json.encode({**head, "payload": payload}).decode()


PROTOCOL = Protocol(
    name=NAME,
    route=route,
    subscribe=subscribe,
    topics_per_message=100,
    ping=lambda now: msgspec.json.encode({"time": now // SECOND, "channel": "spot.ping"}).decode(),
    ping_after=20 * SECOND,
)
session = partial(RoutedSession, PROTOCOL, CHANNELS)
connections = partial(one_url, "/", LIMITS.subscriptions_per_connection)
opening = past.opening
history = by_channel(NAME, {"trades": past.trades, "candles": past.candles}, VIA)


def listing(options: ExchangeOptions) -> Flow[Rows[Instrument]]:
    """Every spot market."""
    response = yield Request(f"{options.rest_url}/api/v4/spot/currency_pairs")
    return rows(NAME, response.body, messages.Pair, parse.instrument)
