"""Gate, spot: trades, candles, book, quotes.

https://www.gate.com/docs/developers/apiv4/ws/en/

What is easily got wrong: the trade's `id` once counted the fills of all markets, `id_market` counts those of one and has no gaps;
that one is stored. A book is the channel `spot.order_book_update`, joined to a snapshot of REST; `spot.tickers` knows neither sizes
nor its time, so quotes come from `spot.book_ticker`. At most 60 levels of a book are sure: 100 are known, and they are eaten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw, Struct

from ingest.exchanges._gate_past import VIA, history
from ingest.exchanges._gate_rest import candles_from_rest, listing, trades_from_rest
from ingest.exchanges._gate_streams import Books, Candles, Quotes, Stream, Trades
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, Options, Rate
from ingest.protocol.http import Request, Response
from ingest.protocol.session import ChannelName, Connection, Output, Refused, Send, Subscription
from ingest.records import SECOND

__all__ = ["CHANNELS", "COMPLETENESS", "LIMITS", "NAME", "TRADE_KINDS", "VIA", "connections", "history", "listing", "session"]
__all__ += ["candles_from_rest", "trades_from_rest"]

NAME = "gate"
CHANNELS: tuple[ChannelName, ...] = ("trades", "candles", "book", "quotes")
TRADE_KINDS: tuple[str, ...] = ("trade",)
# "Frequency limit rule": 200 calls in 10 s to each public endpoint, half of it taken. There is no figure for websockets; the staff
# asks for at most 100 connections (gateio/gatews, issue 25). Who reads too slowly is cut off, hence few subscriptions on each.
LIMITS = ExchangeLimits(
    ws_url="wss://api.gateio.ws/ws/v4",
    rest_url="https://api.gateio.ws",
    alternative="in the EU use wss://api.gateeu.com/ws/v4 and https://api.gateeu.com",
    sends=Rate(10, 1.0),
    connects=Rate(2, 1.0),
    weight=Rate(100, 10.0),
    subscriptions_per_connection=100,
    silence_seconds=50.0,
)
# ids are dense, but one message may stand for several fills (`range`): the session knows, what is stored does not
COMPLETENESS = CompletenessRules(empty_candles=True)

_WORDS: dict[ChannelName, str] = {
    "trades": "spot.trades",
    "candles": "spot.candlesticks",
    "book": "spot.order_book_update",
    "quotes": "spot.book_ticker",
}
_LISTED: tuple[ChannelName, ...] = ("trades", "quotes")  # one message subscribes to many; the others take one each
_PING_AFTER = 20 * SECOND


class _Problem(Struct, frozen=True):
    code: int = 0
    message: str = ""


class _Frame(Struct, frozen=True):
    channel: str
    event: str = ""
    error: _Problem | None = None
    result: Raw = Raw(b"null")


class _Named(Struct, frozen=True):
    """As much of an update as says whose it is."""

    currency_pair: str = ""
    s: str = ""
    n: str = ""  # "1m_BTC_USDT"


_decode = msgspec.json.Decoder(_Frame).decode
_decode_name = msgspec.json.Decoder(_Named).decode


def connections(subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
    """As few as possible."""
    size = LIMITS.subscriptions_per_connection
    parts = (tuple(subscriptions[start : start + size]) for start in range(0, len(subscriptions), size))
    return [Connection(f"{options.ws_url}/", part) for part in parts]


def session(connection: Connection, options: Options) -> Session:
    return Session(connection, options)


class Session:
    """One connection: routes each update to its stream, and keeps the connection awake."""

    def __init__(self, connection: Connection, options: Options) -> None:
        self._subscriptions = connection.subscriptions
        self.last_message_at = [0] * len(self._subscriptions)
        self._books = {s.instrument.symbol: Books(s.instrument, options) for s in self._subscriptions if s.channel == "book"}
        self._streams: dict[tuple[str, str], tuple[int, Stream]] = {}
        for index, subscription in enumerate(self._subscriptions):
            key = (_WORDS[subscription.channel], subscription.instrument.symbol)
            self._streams[key] = (index, self._open(subscription, options))
        self._awake_at = 0  # when something last came, or we last pinged

    def start(self, now: int) -> Iterable[Output]:
        self._awake_at = now
        for channel in CHANNELS:
            symbols = [s.instrument.symbol for s in self._subscriptions if s.channel == channel]
            for payload in _payloads(channel, symbols):
                message = {"time": now // SECOND, "channel": _WORDS[channel], "event": "subscribe", "payload": payload}
                yield Send(msgspec.json.encode(message).decode())

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        self._awake_at = received_at
        try:
            message = _decode(frame)
            if message.event == "update":
                return self._update(message, frame, received_at)
        except UNREADABLE as error:
            return (malformed(frame, error),)
        if message.error is not None:
            return (Refused(f"gate: {message.channel}: {message.error.code} {message.error.message}"),)
        if message.event in ("subscribe", "unsubscribe") or message.channel == "spot.pong":
            return ()
        return (Malformed(frame, "unknown", f"gate: unknown event {message.event!r} of {message.channel}"),)

    def _update(self, message: _Frame, frame: bytes, received_at: int) -> Sequence[Output]:
        name = _decode_name(message.result)
        symbol = name.currency_pair or name.s or name.n.removeprefix("1m_")
        entry = self._streams.get((message.channel, symbol))
        if entry is None:
            return (Malformed(frame, "unknown", f"gate: {message.channel} of {symbol} was not subscribed here"),)
        index, stream = entry
        self.last_message_at[index] = received_at
        try:
            return stream.feed(bytes(message.result), received_at)
        except UNREADABLE as error:
            stream.lost()
            return (malformed(frame, error),)
        except ValueError as error:
            stream.lost()
            return (Malformed(frame, "value", f"gate: {error}"),)

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        return self._books[request.tag].answer(response, now)

    def tick(self, now: int) -> Sequence[Output]:
        out: list[Output] = []
        if now - self._awake_at >= _PING_AFTER:
            self._awake_at = now
            out.append(Send(msgspec.json.encode({"time": now // SECOND, "channel": "spot.ping"}).decode()))
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


def _payloads(channel: ChannelName, symbols: list[str]) -> list[list[str]]:
    if channel in _LISTED:
        return [symbols] if symbols else []
    return [["1m", symbol] if channel == "candles" else [symbol, "100ms"] for symbol in symbols]
