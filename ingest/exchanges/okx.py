"""OKX v5, spot: trades, candles, book, quotes.

https://www.okx.com/docs-v5/en/#overview-websocket

Two things are easily got wrong. Channels live on two endpoints: candles and `trades-all` on /business, the rest on /public; the
wrong one refuses them. And `trades` merges the fills of one order into one row under the last fill's id: it is another kind of
trade than the single fills of `trades-all` and of REST, and the two are never mixed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from ingest.exchanges._okx_past import VIA, history
from ingest.exchanges._okx_rest import candle_from_rest, candles_from_rest, listing, trade_from_rest, trades_from_rest
from ingest.exchanges._okx_streams import Books, Candles, Quotes, Stream, Trades
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, Options, Rate
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Channel, Connection, Output, Reconnect, Refused, Send, Subscription
from ingest.records import SECOND

__all__ = ["CHANNELS", "COMPLETENESS", "LIMITS", "NAME", "TRADE_KINDS", "VIA", "connections", "history", "listing", "session"]
__all__ += ["candle_from_rest", "candles_from_rest", "trade_from_rest", "trades_from_rest"]

NAME = "okx"
CHANNELS: tuple[Channel, ...] = ("trades", "candles", "book", "quotes")
TRADE_KINDS: tuple[str, ...] = ("trades-all", "trades")
# "Connect": 3 a second per address; 480 subscribe and unsubscribe requests an hour per connection; closed after 30 s without a
# message from the server, hence our ping. REST: 20 calls in 2 s for the slowest of the endpoints used, half of it taken.
LIMITS = ExchangeLimits(
    # No port: 8443 accepts no connection after 2026-10-31, on any host; 443 serves the same paths (announced 2026-09-30).
    # https://www.okx.com/en-us/help/okx-websocket-port-8443-discontinuation-announcement
    ws_url="wss://ws.okx.com/ws/v5",
    rest_url="https://www.okx.com",
    alternative="in the EEA use wss://wseea.okx.com/ws/v5 and https://eea.okx.com, in the US wss://wsus.okx.com/ws/v5",
    sends=Rate(480, 3600.0),
    connects=Rate(3, 1.0),
    weight=Rate(5, 1.0),
    subscriptions_per_connection=200,
    silence_seconds=40.0,
)
# Nothing says whether a minute without trades has a candle, so none is expected.
COMPLETENESS = CompletenessRules(dense=("trades-all",), charted=("trades-all",))

_WORDS: dict[Channel, str] = {"candles": "candle1m", "book": "books", "quotes": "tickers"}  # trades: the configured kind
_BUSINESS = {"candle1m", "trades-all"}
_ARGS_PER_MESSAGE = 100  # of about 60 bytes; 64 KB are allowed
_PING_AFTER = 25 * SECOND
_UPGRADE = "64008"  # the connection will be closed for a service upgrade
_QUIET = {"subscribe", "unsubscribe", "channel-conn-count"}


class _Arg(Struct, frozen=True):
    channel: str = ""
    instId: str = ""  # noqa: N815, OKX's name


class _Frame(Struct, frozen=True):
    arg: _Arg = _Arg()
    data: Raw = Raw()
    action: str = ""
    event: str = ""
    code: str = ""
    msg: str = ""


_decode = msgspec.json.Decoder(_Frame).decode
_decode_parts = msgspec.json.Decoder(list[Raw]).decode


def connections(subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
    """Separate ones for the two endpoints."""
    out = []
    size = LIMITS.subscriptions_per_connection
    for endpoint in ("public", "business"):
        own = tuple(s for s in subscriptions if (_word(s, options) in _BUSINESS) == (endpoint == "business"))
        out += [Connection(f"{options.ws_url}/{endpoint}", own[i : i + size]) for i in range(0, len(own), size)]
    return out


def session(connection: Connection, options: Options) -> Session:
    return Session(connection, options)


def _word(subscription: Subscription, options: Options) -> str:
    return _WORDS.get(subscription.channel, options.trade_kind)


def _request(operation: str, args: Sequence[_Arg]) -> Send:
    return Send(msgspec.json.encode({"op": operation, "args": args}).decode())


class Session:
    """One connection: routes each row to its stream, and keeps the connection awake."""

    def __init__(self, connection: Connection, options: Options) -> None:
        self.last_message_at = [0] * len(connection.subscriptions)
        self._streams: dict[tuple[str, str], tuple[int, Stream]] = {}
        self._args = [_Arg(_word(s, options), s.instrument.symbol) for s in connection.subscriptions]
        for index, (arg, subscription) in enumerate(zip(self._args, connection.subscriptions, strict=True)):
            self._streams[arg.channel, arg.instId] = (index, _stream(subscription, arg, options))
        self._awake_at = 0  # when something last came, or we last pinged

    def start(self, now: int) -> Sequence[Output]:
        self._awake_at = now
        batches = (self._args[i : i + _ARGS_PER_MESSAGE] for i in range(0, len(self._args), _ARGS_PER_MESSAGE))
        return [_request("subscribe", batch) for batch in batches]

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        self._awake_at = received_at
        if frame == b"pong":
            return ()
        try:
            message = _decode(frame)
        except UNREADABLE as error:
            return (malformed(frame, error),)
        return self._event(message, frame) if message.event else self._data(message, frame, received_at)

    def _data(self, message: _Frame, frame: bytes, received_at: int) -> Sequence[Output]:
        entry = self._streams.get((message.arg.channel, message.arg.instId))
        if entry is None:
            return (Malformed(frame, "unknown", f"okx: {message.arg.channel} of {message.arg.instId} was not subscribed here"),)
        index, stream = entry
        self.last_message_at[index] = received_at
        snapshot = message.action == "snapshot"
        try:
            rows = stream.shape.rows(message.data)
        except UNREADABLE:
            return self._parts(stream, message, frame, received_at)
        if len(rows) == 1:
            return self._row(stream, rows[0], frame, received_at, snapshot=snapshot)
        return [out for row in rows for out in self._row(stream, row, frame, received_at, snapshot=snapshot)]

    def _row(self, stream: Stream, row: object, frame: bytes, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        try:
            return stream.feed(row, received_at, snapshot=snapshot)
        except ValueError as error:
            return (Malformed(frame, "value", f"okx: {error}"), *stream.lost(received_at))

    def _parts(self, stream: Stream, message: _Frame, frame: bytes, received_at: int) -> Sequence[Output]:
        """Some row is not as documented; the others count."""
        try:
            parts = _decode_parts(message.data)
        except UNREADABLE as error:
            return (malformed(frame, error), *stream.lost(received_at))
        out: list[Output] = []
        for part in map(bytes, parts):
            try:
                row = stream.shape.row(part)
            except UNREADABLE as error:
                out += (malformed(part, error), *stream.lost(received_at))
            else:
                out += self._row(stream, row, part, received_at, snapshot=message.action == "snapshot")
        return out

    def _event(self, message: _Frame, frame: bytes) -> Sequence[Output]:
        if message.event in _QUIET:
            return ()
        if message.event == "notice":
            return (Reconnect(f"okx: {message.code} {message.msg}", planned=True),) if message.code == _UPGRADE else ()
        if message.event in ("error", "channel-conn-count-error"):
            return (Refused(f"okx: {message.code} {message.msg}".rstrip()),)
        return (Malformed(frame, "unknown", f"okx: unknown event {message.event!r}"),)

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        return ()  # nothing is asked by HTTP

    def tick(self, now: int) -> Sequence[Output]:
        out: list[Output] = []
        if now - self._awake_at >= _PING_AFTER:
            self._awake_at = now
            out.append(Send("ping"))
        for _, stream in self._streams.values():
            out += stream.tick(now)
        return out


def _stream(subscription: Subscription, arg: _Arg, options: Options) -> Stream:
    instrument = subscription.instrument
    match subscription.channel:
        case "trades":
            return Trades(instrument, options)
        case "candles":
            return Candles(instrument)
        case "quotes":
            return Quotes(instrument, options)
    return Books(instrument, options, (_request("unsubscribe", [arg]), _request("subscribe", [arg])))
