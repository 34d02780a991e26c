"""Deribit: trades, candles, book, quotes of perpetuals, futures, options and spot.

https://docs.deribit.com/

What is easily got wrong is what a `size` means: of inverse perpetuals and futures (BTC/USD:BTC) it is an amount of **USD**, of
options, linear futures and spot one of the base currency; never contracts. A candle's volume is in base and its quote volume in
quote, whatever the instrument. A trade's number counts within its instrument; Deribit's own id is in `native_id`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw, Struct

from ingest.exchanges._deribit_past import VIA, history
from ingest.exchanges._deribit_rest import candles_from_rest, listing, trades_from_rest
from ingest.exchanges._deribit_streams import Books, Candles, Quotes, Stream, Trades
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, Options, Rate
from ingest.protocol.http import Request, Response
from ingest.protocol.session import ChannelName, Connection, Output, Refused, Send, Subscription

__all__ = ["CHANNELS", "COMPLETENESS", "LIMITS", "NAME", "TRADE_KINDS", "VIA", "connections", "history", "listing", "session"]
__all__ += ["candles_from_rest", "trades_from_rest"]

NAME = "deribit"
CHANNELS: tuple[ChannelName, ...] = ("trades", "candles", "book", "quotes")
TRADE_KINDS: tuple[str, ...] = ("trade",)
# "Rate Limits": a subscription costs 3000 of 30,000 credits, another request 500 of 50,000; 10,000 come back in a second, of which
# half is taken. 32 connections per address, each HTTP request among them.
LIMITS = ExchangeLimits(
    ws_url="wss://www.deribit.com/ws/api/v2",
    rest_url="https://www.deribit.com",
    alternative="to try it out there is wss://test.deribit.com/ws/api/v2 with https://test.deribit.com",
    sends=Rate(3, 1.0),
    connects=Rate(1, 1.0),
    weight=Rate(10, 1.0),
    subscriptions_per_connection=200,
    silence_seconds=70.0,  # we ask for a heartbeat every 30 s
    stale_seconds=600.0,  # most options are traded seldom
)
COMPLETENESS = CompletenessRules(dense=("trade",))

_FORMS: dict[ChannelName, str] = {  # 100ms: `raw` needs a key
    "trades": "trades.{}.100ms",
    "candles": "chart.trades.{}.1",
    "book": "book.{}.100ms",
    "quotes": "ticker.{}.100ms",
}
_CHANNELS_PER_MESSAGE = 100
_HEARTBEAT_SECONDS = 30


class _Params(Struct, frozen=True):
    channel: str = ""
    type: str = ""
    data: Raw = Raw(b"null")


class _Problem(Struct, frozen=True):
    code: int
    message: str


class _Frame(Struct, frozen=True):
    method: str = ""
    params: _Params = _Params()
    id: int | None = None
    result: Raw = Raw(b"null")
    error: _Problem | None = None


_decode = msgspec.json.Decoder(_Frame).decode
_decode_channels = msgspec.json.Decoder(list[str]).decode


def connections(subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
    """As few as possible."""
    size = LIMITS.subscriptions_per_connection
    return [Connection(options.ws_url, tuple(subscriptions[i : i + size])) for i in range(0, len(subscriptions), size)]


def session(connection: Connection, options: Options) -> Session:
    return Session(connection, options)


class Session:
    """One connection: routes each message to its stream, answers the exchange's tests, and sees what was not subscribed."""

    def __init__(self, connection: Connection, options: Options) -> None:
        self.last_message_at = [0] * len(connection.subscriptions)
        self._names = [_FORMS[s.channel].format(s.instrument.symbol) for s in connection.subscriptions]
        self._streams: dict[str, tuple[int, Stream]] = {}
        for index, (name, subscription) in enumerate(zip(self._names, connection.subscriptions, strict=True)):
            self._streams[name] = (index, _stream(subscription, name, options))
        self._asked: dict[int, list[str]] = {}  # by message: the channels of which the answer must have all

    def start(self, now: int) -> Iterable[Output]:
        yield _call(0, "public/set_heartbeat", {"interval": _HEARTBEAT_SECONDS})
        for start in range(0, len(self._names), _CHANNELS_PER_MESSAGE):
            number = len(self._asked) + 1
            self._asked[number] = self._names[start : start + _CHANNELS_PER_MESSAGE]
            yield _call(number, "public/subscribe", {"channels": self._asked[number]})

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            message = _decode(frame)
            if message.id is not None:
                return self._reply(message.id, message)
        except UNREADABLE as error:
            return (malformed(frame, error),)
        if message.method == "subscription":
            return self._data(message.params, frame, received_at)
        if message.method == "heartbeat":
            return (_call(0, "public/test", {}),) if message.params.type == "test_request" else ()
        return (Malformed(frame, "unknown", f"deribit: unknown method {message.method!r}"),)

    def _data(self, params: _Params, frame: bytes, received_at: int) -> Sequence[Output]:
        entry = self._streams.get(params.channel)
        if entry is None:
            return (Malformed(frame, "unknown", f"deribit: {params.channel!r} was not subscribed here"),)
        index, stream = entry
        self.last_message_at[index] = received_at
        try:
            return stream.feed(bytes(params.data), received_at)
        except UNREADABLE as error:
            return (malformed(frame, error), *stream.lost(received_at))
        except ValueError as error:
            return (Malformed(frame, "value", f"deribit: {error}"), *stream.lost(received_at))

    def _reply(self, number: int, message: _Frame) -> Sequence[Output]:
        """The channels that were accepted; one that does not exist is left out without a word."""
        if message.error is not None:
            return (Refused(f"deribit: {message.error.code} {message.error.message}"),)
        asked = self._asked.pop(number, [])
        missing = sorted(set(asked) - set(_decode_channels(message.result))) if asked else []
        return (Refused(f"deribit: not subscribed: {', '.join(missing)}"),) if missing else ()

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        return ()  # nothing is asked by HTTP

    def tick(self, now: int) -> Sequence[Output]:
        return [output for _, stream in self._streams.values() for output in stream.tick(now)]


def _stream(subscription: Subscription, name: str, options: Options) -> Stream:
    instrument = subscription.instrument
    match subscription.channel:
        case "trades":
            return Trades(instrument)
        case "candles":
            return Candles(instrument)
        case "quotes":
            return Quotes(instrument, options)
    again = _call(0, "public/unsubscribe", {"channels": [name]}), _call(0, "public/subscribe", {"channels": [name]})
    return Books(instrument, options, again)


def _call(number: int, method: str, params: dict[str, int | list[str]]) -> Send:
    return Send(msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).decode())
