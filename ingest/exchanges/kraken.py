"""Kraken spot, websocket v2: trades, candles, book, quotes.

https://docs.kraken.com/exchange/api-reference/spot-websocket-v2

Three things are easily got wrong. A bar has no closed flag (see `Candles`). The book has no sequence, only a checksum over the
digits at the pair's full precision (see `Books`). The websocket gives 6 decimals of a second and REST 7: a trade's time is cut to
microseconds everywhere, or one trade would be two rows. Kraken's archive of trades ("time and sales" CSV) has whole seconds and no
trade ids, so its rows cannot be matched with these: history comes by REST.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from ingest.exchanges._kraken_frames import FRAME, FRAMES, NAMED, OTHER, ROWS, Heartbeat, Other, Row, Status, to_micros
from ingest.exchanges._kraken_past import VIA, history
from ingest.exchanges._kraken_rest import candle_from_rest, candles_from_rest, listing, trade_from_rest, trades_from_rest
from ingest.exchanges._kraken_streams import Books, Candles, Clock, Quotes, Stream, Trades, subscribed_depth
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, Options, Rate
from ingest.protocol.http import Request, Response
from ingest.protocol.session import ChannelName, Connection, Output, Refused, Send, Subscription
from ingest.records import SECOND

__all__ = ["CHANNELS", "COMPLETENESS", "LIMITS", "NAME", "TRADE_KINDS", "VIA", "connections", "history", "listing", "session"]
__all__ += ["candle_from_rest", "candles_from_rest", "trade_from_rest", "trades_from_rest"]

NAME = "kraken"
CHANNELS: tuple[ChannelName, ...] = ("trades", "candles", "book", "quotes")
TRADE_KINDS: tuple[str, ...] = ("trade",)
# https://docs.kraken.com/api/docs/guides/spot-ratelimits: the websocket's limit is dynamic ("Exceeded msg rate") and no number is
# published for it, for connects, or for public REST, where one call a second is known to be safe: ours are cautious.
LIMITS = ExchangeLimits(
    ws_url="wss://ws.kraken.com/v2",
    rest_url="https://api.kraken.com",
    alternative="Kraken has one host for all countries; where it is refused, set exchanges.kraken.proxy",
    sends=Rate(10, 1.0),
    connects=Rate(70, 600.0),
    weight=Rate(1, 2.0),
    subscriptions_per_connection=200,
    silence_seconds=30.0,
)
# The websocket sends no candle for a minute without trades.
COMPLETENESS = CompletenessRules(dense=("trade",), counted=("trade",), charted=("trade",))

_WORDS: dict[ChannelName, str] = {"trades": "trade", "candles": "ohlc", "book": "book", "quotes": "ticker"}
_SYMBOLS_PER_MESSAGE = 100
_PING_AFTER = 10 * SECOND


def connections(subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
    size = LIMITS.subscriptions_per_connection
    return [Connection(options.ws_url, tuple(subscriptions[i : i + size])) for i in range(0, len(subscriptions), size)]


def session(connection: Connection, options: Options) -> Session:
    return Session(connection, options)


def _message(method: str, channel: ChannelName, symbols: Sequence[str], options: Options) -> Send:
    """`subscribe` or `unsubscribe`; both name the same parameters."""
    params: dict[str, object] = {"channel": _WORDS[channel], "symbol": symbols}
    if channel == "candles":
        params["interval"] = 1
    elif channel == "book":
        params["depth"] = subscribed_depth(options)
    elif channel == "quotes":
        params["event_trigger"] = "bbo"
    return Send(msgspec.json.encode({"method": method, "params": params}).decode())


class Session:
    """One connection: routes each row to its stream, and keeps the connection awake."""

    def __init__(self, connection: Connection, options: Options) -> None:
        self.refused: dict[int, str] = {}
        self.last_message_at = [0] * len(connection.subscriptions)
        self._subscriptions = connection.subscriptions
        self._options = options
        self._clock = Clock()
        self._streams: dict[str, dict[str, tuple[int, Stream]]] = {word: {} for word in ROWS}
        for index, subscription in enumerate(connection.subscriptions):
            streams = self._streams[_WORDS[subscription.channel]]
            streams[subscription.instrument.symbol] = (index, self._stream(subscription))
        self._awake_at = 0  # when something last came, or we last pinged

    def _stream(self, subscription: Subscription) -> Stream:
        instrument = subscription.instrument
        match subscription.channel:
            case "trades":
                return Trades(instrument)
            case "candles":
                return Candles(instrument, self._clock)
            case "quotes":
                return Quotes(instrument, self._options)
        unsubscribe, subscribe = (
            _message(method, "book", [instrument.symbol], self._options) for method in ("unsubscribe", "subscribe")
        )
        return Books(instrument, self._options, (unsubscribe, subscribe))

    def start(self, now: int) -> Sequence[Output]:
        self._awake_at = now
        out: list[Output] = []
        for channel in CHANNELS:
            symbols = [s.instrument.symbol for s in self._subscriptions if s.channel == channel]
            batches = (symbols[i : i + _SYMBOLS_PER_MESSAGE] for i in range(0, len(symbols), _SYMBOLS_PER_MESSAGE))
            out += [_message("subscribe", channel, batch, self._options) for batch in batches]
        return out

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        self._awake_at = received_at
        try:
            rows = FRAME.decode(frame)
        except UNREADABLE:
            return self._other(frame, received_at)
        if isinstance(rows, Heartbeat | Status):
            return ()
        out: list[Output] = []
        if rows.timestamp is not None:
            out += self._saw(rows.timestamp, frame, received_at)
        word, snapshot = FRAMES[type(rows)], rows.type == "snapshot"
        for row in rows.data:
            out += self._row(word, row, frame, received_at, snapshot=snapshot)
        return out

    def _row(self, word: str, row: Row, frame: bytes, received_at: int, *, snapshot: bool) -> Sequence[Output]:
        entry = self._streams[word].get(row.symbol)
        if entry is None:
            return (Malformed(frame, "unknown", f"kraken: {word} of {row.symbol}, which was not subscribed here"),)
        index, stream = entry
        self.last_message_at[index] = received_at
        try:
            return stream.feed(row, received_at, snapshot=snapshot)
        except ValueError as error:
            return (Malformed(frame, "value", f"kraken: {word} of {row.symbol}: {error}"), *stream.lost(received_at))

    def _saw(self, sent_at: str, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            self._clock.saw(to_micros(sent_at), received_at)
        except ValueError as error:
            return (Malformed(frame, "value", f"kraken: time of sending: {error}"),)
        return ()

    def _other(self, frame: bytes, received_at: int) -> Sequence[Output]:
        """A frame that holds no rows, or of which some part is not as documented; the other parts count."""
        try:
            other = OTHER.decode(frame)
        except UNREADABLE as error:
            return (malformed(frame, error),)
        if other.method:
            return self._reply(other, frame, received_at)
        if other.channel not in ROWS:
            return (Malformed(frame, "unknown", f"kraken: unknown channel {other.channel!r}; known: {', '.join(ROWS)}"),)
        if not other.data:
            return (Malformed(frame, "shape", f"kraken: {other.channel} without data"),)
        return [output for part in other.data for output in self._part(other, part, received_at)]

    def _reply(self, other: Other, frame: bytes, received_at: int) -> Sequence[Output]:
        out: list[Output] = []
        if other.time_out is not None:
            out += self._saw(other.time_out, frame, received_at)
        if not other.success:
            what = " ".join(filter(None, (other.method, other.result.channel, other.symbol or other.result.symbol)))
            out.append(Refused(f"kraken: {what}: {other.error}"))
        return out

    def _part(self, other: Other, part: Raw, received_at: int) -> Sequence[Output]:
        payload = bytes(part)
        try:
            row = ROWS[other.channel].decode(payload)
        except UNREADABLE as error:
            return (malformed(payload, error), *self._lost(other.channel, payload, received_at))
        return self._row(other.channel, row, payload, received_at, snapshot=other.type == "snapshot")

    def _lost(self, word: str, payload: bytes, received_at: int) -> Sequence[Output]:
        try:
            entry = self._streams[word].get(NAMED.decode(payload).symbol)
        except UNREADABLE:
            return ()  # nobody knows whose it was
        return () if entry is None else entry[1].lost(received_at)

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        return ()  # nothing is asked by HTTP

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        return ()

    def tick(self, now: int) -> Sequence[Output]:
        out: list[Output] = []
        if now - self._awake_at >= _PING_AFTER:
            self._awake_at = now
            out.append(Send('{"method":"ping"}'))
        for streams in self._streams.values():
            for _, stream in streams.values():
                out += stream.tick(now)
        return out
