"""The books of Coinbase, from the websocket of Advanced Trade. Every message has a number, so a lost message is known.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/advanced-trade-asyncapi.json

`sequence_num` counts the messages of a connection, over all channels and products, by the AsyncAPI document and by observation
(2026-08). The overview says "for each product"; then every book here would break again and again, and have an open gap. There is no
checksum. A snapshot has every level (BTC-USD: 44,000 levels, 5 MB); an update may remove a level that was never sent. A channel
without updates is closed after 60 to 90 seconds, unless the heartbeats are subscribed. A refusal has only `type` and `message`; its
text for an unknown product is not documented.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from ingest.marketdata.channels import Channel
from ingest.marketdata.session import Control, Numbered, Part, Protocol, Route, RoutedSession, Unknown
from ingest.marketdata.streamed_book import StreamedBook, Update
from ingest.marketdata.subscriptions import Accepted, Batch, Rejected
from ingest.marketdata.values import from_iso
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Connection

NAME = "coinbase"
URL = "wss://advanced-trade-ws.coinbase.com"  # documented 2026-08
TOPIC = "level2"  # its messages are named l2_data
BOOKS = 20  # of one connection. The number is ours: a lost message breaks all of them
MAX_EVENTS = 100  # of one message, which usually has one
MAX_ODD = 1000  # levels that are of neither side
HEARTBEATS = '{"type":"subscribe","channel":"heartbeats"}'  # one a second, for the whole connection
_OWN_BOOK = {"USDT-USDC", "EURC-USDC"}
_BUSY = "rate limit"


class Message(Struct, frozen=True):
    """Any message. An error has `type` and `message`, the others a channel and a number."""

    channel: str = ""
    sequence_num: int | None = None
    timestamp: str = ""
    events: Raw = Raw(b"[]")
    type: str = ""
    message: str = ""


class Event(Struct, frozen=True):
    """The fields that route an event."""

    product_id: str = ""
    subscriptions: dict[str, list[str]] = {}


class Level(Struct, frozen=True, gc=False):
    """A level with its absolute size; every field is text. `event_time` is 1970 or the year 1 where it is not known."""

    side: Any = None  # bid, offer
    price_level: Any = None
    new_quantity: Any = None
    event_time: Any = None


class Levels(Struct, frozen=True):
    """A snapshot or changed levels. An odd level does not cost the others, unless it is a list."""

    type: Literal["snapshot", "update"]
    updates: list[Level | str | float | bool | None]


class BookRow(Struct, frozen=True):
    """A message with one event; `timestamp` is when it was sent."""

    events: tuple[Levels]
    timestamp: str = ""


def book(row: BookRow) -> Update:
    """A snapshot has the time at which it was sent, because its levels have older ones; an update that of its latest level."""
    (event,) = row.events
    bids: list[Any] = []
    asks: list[Any] = []
    times: list[Any] = []
    odd: list[str] = []
    for level in event.updates:
        if isinstance(level, Level) and level.side in ("bid", "offer"):
            (bids if level.side == "bid" else asks).append((level.price_level, level.new_quantity))
            times.append(level.event_time)
        else:
            odd.append(str(level))
            if len(odd) > MAX_ODD:
                raise ValueError(f"more than {MAX_ODD} levels are of no side")
    snapshot = event.type == "snapshot"
    bids += odd  # a text is no level, so it is rejected
    return Update(_latest([row.timestamp] if snapshot else times), bids, asks, snapshot=snapshot)


def _latest(times: Iterable[Any]) -> int | None:
    """The latest time in microseconds, without placeholders; None if there is no other."""
    known = []
    for text in {text for text in times if isinstance(text, str)}:
        try:
            known.append(from_iso(text))
        except ValueError:
            continue
    return max(known, default=None)


_decode = msgspec.json.Decoder(Message).decode
_decode_events = msgspec.json.Decoder(list[Raw]).decode
_decode_event = msgspec.json.Decoder(Event).decode


def route(symbols: Mapping[str, Sequence[str]], frame: bytes) -> Route:
    """`symbols` are the subscribed symbols by product."""
    message = _decode(frame)
    if message.type == "error":
        return None, (Rejected(f"{NAME}: {message.message}", busy=_BUSY in message.message.lower()),), False
    if message.sequence_num is None:
        return None, (Unknown(f"a message without a number, channel {message.channel!r}"),), False
    return None, (Numbered(message.sequence_num, _controls(message, symbols, frame)),), False


def _controls(message: Message, symbols: Mapping[str, Sequence[str]], frame: bytes) -> Sequence[Control]:
    if message.channel == "heartbeats":
        return ()
    events = _decode_events(message.events)
    if len(events) > MAX_EVENTS:
        raise ValueError(f"{len(events)} events in one message; right would be at most {MAX_EVENTS}")
    match message.channel:
        case "l2_data":
            rows = [frame] if len(events) == 1 else [_row(message, event) for event in events]
            products = [_decode_event(event).product_id for event in events]
            pairs = zip(products, rows, strict=True)
            return [Part((TOPIC, symbol), row) for product, row in pairs for symbol in symbols.get(product, (product,))]
        case "subscriptions":  # all of the connection, whichever message changed them
            accepted = [product for event in events for product in _decode_event(event).subscriptions.get(TOPIC, ())]
            return [Accepted(topics=tuple((TOPIC, symbol) for product in accepted for symbol in symbols.get(product, ())))]
    return [Unknown(f"unknown channel {message.channel!r}")]


def _row(message: Message, event: Raw) -> bytes:
    return b'{"timestamp":%b,"events":[%b]}' % (msgspec.json.encode(message.timestamp), bytes(event))


def product_of(symbol: str) -> str:
    """The product whose book a symbol has: that of BTC-USDC is BTC-USD."""
    base, _, quote = symbol.rpartition("-")
    return f"{base}-USD" if quote == "USDC" and symbol not in _OWN_BOOK else symbol


def request(kind: str, batch: Batch) -> str:
    products = dict.fromkeys(product_of(member.symbol) for member in batch.members)
    return msgspec.json.encode({"type": kind, "product_ids": list(products), "channel": TOPIC}).decode()


BOOK = Channel(TOPIC, StreamedBook(BookRow, book))


def session(connection: Connection, options: ExchangeOptions) -> RoutedSession:
    symbols: dict[str, list[str]] = {}
    for each in connection.subscriptions:
        symbols.setdefault(product_of(each.instrument.symbol), []).append(each.instrument.symbol)
    protocol = Protocol(
        name=NAME,
        route=partial(route, symbols),
        subscribe=partial(request, "subscribe"),
        unsubscribe=partial(request, "unsubscribe"),
        topics_per_message=BOOKS,
        hello=lambda now: HEARTBEATS,
    )
    return RoutedSession(protocol, {"book": BOOK}, connection, options)
