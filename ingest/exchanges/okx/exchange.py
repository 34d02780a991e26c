"""OKX v5, spot: limits, channels and websocket protocol.

https://www.okx.com/docs-v5/en/#overview-websocket

Candles and `trades-all` are on the endpoint /business, the rest on /public; the other endpoint refuses them. `trades` merges the
fills of an order under the last fill's id. It is another trade kind than the single fills of `trades-all` and REST; they never mix.

Changes (https://www.okx.com/docs-v5/log_en/):
- 2025-11-26: `trades` merges fills of one order, price and source; `trades-all` does not.
- 2026-03-04: a market may be `rebase` or `post_only`, which are `halted` here.
- 2026-05-20: REST is also at https://openapi.okx.com; www.okx.com stays.
- 2026-06-11: notice 64008 comes 60 s ahead, on /business as well.
- 2026-06-23: the checksum of a book is always 0; its sequence is what counts.
- 2026-09-30: spot pairs in USD are closed, see `retired`.
- 2026-10-31: port 8443 is closed; hosts and paths stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from ingest.exchanges.okx import history as past
from ingest.exchanges.okx import messages, parse
from ingest.marketdata.channels import Candles, Channel, Channels, Quotes, Trades
from ingest.marketdata.history import by_channel
from ingest.marketdata.rest import Rows, rows
from ingest.marketdata.session import Notice, Protocol, Route, RoutedSession, Unknown, one_url
from ingest.marketdata.streamed_book import StreamedBook
from ingest.marketdata.subscriptions import Accepted, Batch, Rejected
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, ExchangeOptions, Rate
from ingest.protocol.http import Flow, Request
from ingest.protocol.session import Connection, Reconnect, Subscription
from ingest.records import SECOND, Instrument

NAME = "okx"
TRADE_KINDS = ("trades-all", "trades")
VIA = ("rest",)
# "Connect": 3 a second per address; 480 subscribe and unsubscribe requests an hour per connection; closed after 30 s without a
# message from the server, hence the ping. REST: 20 calls in 2 s for the slowest endpoint in use, of which half is used.
LIMITS = ExchangeLimits(
    ws_url="wss://ws.okx.com/ws/v5",
    rest_url="https://www.okx.com",
    alternative="wss://wseea.okx.com/ws/v5 with https://eea.okx.com in the EEA, wss://wsus.okx.com/ws/v5 in the US",
    sends=Rate(480, 3600.0),
    connects=Rate(3, 1.0),
    weight=Rate(5, 1.0),
    subscriptions_per_connection=200,
    silence_seconds=40.0,
)
# Candles of empty minutes are not documented. A silent book sends keepalives with its `seqId` ("Order book channel").
COMPLETENESS = CompletenessRules(dense=("trades-all",), charted=("trades-all",), evidence={"trades-all": "ids", "book": "sequence"})

CHANNELS: Channels = {
    "trades": Channel("{kind}", Trades(messages.TradeRow, parse.trade, dense_ids=("trades-all",)), listed=True),
    "candles": Channel("candle1m", Candles(messages.BarRow, parse.candle), listed=True),
    "book": Channel("books", StreamedBook(messages.BookRow, parse.book, verify=parse.agrees), listed=True),
    "quotes": Channel("tickers", Quotes(messages.QuoteRow, parse.quote), listed=True),
}
_UPGRADE = "64008"  # the connection will be closed for a service upgrade
_BUSY = {"60014"}  # requests too frequent
_QUIET = {"unsubscribe", "channel-conn-count"}

_decode = msgspec.json.Decoder(messages.Frame).decode


def route(frame: bytes) -> Route:
    if frame == b"pong":
        return None, (), False
    message = _decode(frame)
    arg, event = message.arg, message.event
    if not event:
        return (arg.channel, arg.instId), message.data, message.action == "snapshot"
    number = int(message.id) if message.id.isdecimal() else None
    text = f"{NAME}: {message.code} {message.msg}".rstrip()
    match event:
        case "subscribe":
            return None, (Accepted(number, ((arg.channel, arg.instId),)),), False
        case "notice":
            return None, (Reconnect(text, planned=True) if message.code == _UPGRADE else Notice(text),), False
        case "error" | "channel-conn-count-error":
            return None, (Rejected(text, number, busy=message.code in _BUSY),), False
        case _:
            return None, () if event in _QUIET else (Unknown(f"unknown event {event!r}"),), False


def request(operation: str, batch: Batch) -> str:
    args = [{"channel": member.template, "instId": member.symbol} for member in batch.members]
    return msgspec.json.encode({"id": str(batch.number), "op": operation, "args": args}).decode()


PROTOCOL = Protocol(
    name=NAME,
    route=route,
    subscribe=partial(request, "subscribe"),
    unsubscribe=partial(request, "unsubscribe"),
    topics_per_message=100,  # of about 60 bytes; 64 KB are allowed
    mixed=True,
    single=True,
    ping=lambda now: "ping",
    ping_after=25 * SECOND,
)
session = partial(RoutedSession, PROTOCOL, CHANNELS)
history = by_channel(NAME, {"trades": past.trades, "candles": past.candles}, VIA)


def connections(subscriptions: Sequence[Subscription], options: ExchangeOptions) -> list[Connection]:
    """Separate connections for the two endpoints."""
    out: list[Connection] = []
    for endpoint in ("public", "business"):
        own = [each for each in subscriptions if _endpoint(each, options) == endpoint]
        out += one_url(f"/{endpoint}", LIMITS.subscriptions_per_connection, own, options)
    return out


def retired(instrument: str) -> str:
    """OKX closed its spot pairs in USD on 2026-09-30 and merged their books into those in USDC (its announcement of 2026-09-07)."""
    base, _, quote = instrument.partition("/")
    return f"OKX closed its pairs in USD on 2026-09-30; their market is {base}/USDC" if quote == "USD" else ""


def _endpoint(subscription: Subscription, options: ExchangeOptions) -> str:
    channel = options.trade_kind if subscription.channel == "trades" else subscription.channel
    return "business" if channel in ("candles", "trades-all") else "public"


def listing(options: ExchangeOptions) -> Flow[Rows[Instrument]]:
    """Every spot market."""
    response = yield Request(f"{options.rest_url}/api/v5/public/instruments?instType=SPOT")
    return rows(NAME, messages.ENVELOPE.open(response.body), messages.Listed, parse.instrument)
