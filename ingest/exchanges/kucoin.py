"""KuCoin, spot: trades, candles, book, quotes.

https://www.kucoin.com/docs-new/websocket-api/base-info/introduction

What is easily got wrong: where to connect is asked for by a POST before each opening, which brings a token; nothing may be sent
before the `welcome`; and the connection is closed unless we ping it every 18 seconds, however much it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from ingest.exchanges._kucoin_past import VIA, history
from ingest.exchanges._kucoin_rest import WS_URL, address, candles_from_rest, listing, trades_from_rest
from ingest.exchanges._kucoin_streams import Books, Candles, Quotes, Stream, Trades
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, Options, Rate
from ingest.protocol.http import Flow, Request, Response
from ingest.protocol.session import ChannelName, Connection, Output, Refused, Send, Subscription
from ingest.records import SECOND

__all__ = [
    "CHANNELS",
    "COMPLETENESS",
    "LIMITS",
    "NAME",
    "TRADE_KINDS",
    "VIA",
    "connections",
    "history",
    "listing",
    "locate",
    "session",
]
__all__ += ["candles_from_rest", "trades_from_rest"]

NAME = "kucoin"
CHANNELS: tuple[ChannelName, ...] = ("trades", "candles", "book", "quotes")
TRADE_KINDS: tuple[str, ...] = ("match",)
# "Limitation": 100 messages in 10 s, 100 topics in one of them, 300 on a connection, 30 connections a minute. "Rate Limit": 2000 of
# weight in 30 s for what is public, half of it taken. A token is good for 24 hours.
LIMITS = ExchangeLimits(
    ws_url=WS_URL,
    rest_url="https://api.kucoin.com",
    alternative="in the EU use https://api.kucoin.eu, in Australia https://api.kucoin.com.au",
    sends=Rate(90, 10.0),
    connects=Rate(25, 60.0),
    weight=Rate(1000, 30.0),
    subscriptions_per_connection=300,
    silence_seconds=40.0,
    life_seconds=23.5 * 3600,
)
COMPLETENESS = CompletenessRules()

_TOPICS: dict[ChannelName, str] = {
    "trades": "/market/match:",
    "candles": "/market/candles:",
    "book": "/market/level2:",
    "quotes": "/market/ticker:",
}
_BAR = "_1min"
_TOPICS_PER_MESSAGE = 100
_PING_EVERY = 18 * SECOND


class _Frame(Struct, frozen=True):
    type: str
    topic: str = ""
    data: Raw = Raw(b"null")
    code: int | str = ""


_decode = msgspec.json.Decoder(_Frame).decode


def connections(subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
    """As few as possible."""
    size = LIMITS.subscriptions_per_connection
    return [Connection(options.ws_url, tuple(subscriptions[i : i + size])) for i in range(0, len(subscriptions), size)]


def locate(connection: Connection, options: Options) -> Flow[str]:
    """As in `flow.Located`."""
    return address(options)


def session(connection: Connection, options: Options) -> Session:
    return Session(connection, options)


class Session:
    """One connection: subscribes when it is welcome, routes each message to its stream, and keeps the connection awake."""

    def __init__(self, connection: Connection, options: Options) -> None:
        subscriptions = connection.subscriptions
        self.last_message_at = [0] * len(subscriptions)
        self._topics = [_topic(subscription) for subscription in subscriptions]
        self._books = {s.instrument.symbol: Books(s.instrument, options) for s in subscriptions if s.channel == "book"}
        self._streams: dict[str, tuple[int, Stream]] = {}
        for index, (topic, subscription) in enumerate(zip(self._topics, subscriptions, strict=True)):
            self._streams[topic] = (index, self._open(subscription, options))
        self._pinged_at: int | None = None  # None before the welcome

    def start(self, now: int) -> Sequence[Output]:
        return ()  # the server speaks first

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            message = _decode(frame)
        except UNREADABLE as error:
            return (malformed(frame, error),)
        match message.type:
            case "message":
                return self._message(message, frame, received_at)
            case "welcome":
                self._pinged_at = received_at
                return list(self._subscribe())
            case "ack" | "pong":
                return ()
            case "error":
                return (Refused(f"kucoin: {message.code} {bytes(message.data).decode(errors='replace')}"),)
        return (Malformed(frame, "unknown", f"kucoin: unknown type {message.type!r}"),)

    def _message(self, message: _Frame, frame: bytes, received_at: int) -> Sequence[Output]:
        entry = self._streams.get(message.topic)
        if entry is None:
            return (Malformed(frame, "unknown", f"kucoin: {message.topic!r} was not subscribed here"),)
        index, stream = entry
        self.last_message_at[index] = received_at
        try:
            return stream.feed(bytes(message.data), received_at)
        except UNREADABLE as error:
            stream.lost()
            return (malformed(frame, error),)
        except ValueError as error:
            stream.lost()
            return (Malformed(frame, "value", f"kucoin: {error}"),)

    def _subscribe(self) -> Iterator[Send]:
        for prefix in _TOPICS.values():
            names = [topic.removeprefix(prefix) for topic in self._topics if topic.startswith(prefix)]
            for i in range(0, len(names), _TOPICS_PER_MESSAGE):
                topic = prefix + ",".join(names[i : i + _TOPICS_PER_MESSAGE])
                yield _send({"id": "1", "type": "subscribe", "topic": topic, "response": True})

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        return self._books[request.tag].answer(response, now)

    def tick(self, now: int) -> Sequence[Output]:
        out: list[Output] = []
        if self._pinged_at is not None and now - self._pinged_at >= _PING_EVERY:
            self._pinged_at = now
            out.append(_send({"id": "1", "type": "ping"}))
        for _, stream in self._streams.values():
            out += stream.tick(now)
        return out

    def _open(self, subscription: Subscription, options: Options) -> Stream:
        instrument = subscription.instrument
        match subscription.channel:
            case "trades":
                return Trades(instrument)
            case "candles":
                return Candles(instrument)
            case "quotes":
                return Quotes(instrument, options)
        return self._books[instrument.symbol]


def _topic(subscription: Subscription) -> str:
    suffix = _BAR if subscription.channel == "candles" else ""
    return f"{_TOPICS[subscription.channel]}{subscription.instrument.symbol}{suffix}"


def _send(message: dict[str, str | bool]) -> Send:
    return Send(msgspec.json.encode(message).decode())
