"""Binance spot: trades, closed one-minute candles, the order book and the best bid and ask, all by websocket.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits

What is easily got wrong: `m` says that the **buyer** was the maker, so the taker sold. Times are milliseconds here and in REST, but
microseconds in the archive since 2025: a trade's time is cut to the millisecond on every path (`_binance_rest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType, field
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.exchanges._binance_archive import candle_from_archive, trade_from_archive
from ingest.exchanges._binance_past import VIA, history
from ingest.exchanges._binance_rest import candle_from_rest, trade_from_rest
from ingest.exchanges._binance_streams import Books, Candles, Quotes, Stream, Trades
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, Options, Rate
from ingest.protocol.http import Flow, Request, Response
from ingest.protocol.session import ChannelName, Connection, Output, Reconnect, Refused, Send, Subscription
from ingest.records import Instrument

__all__ = [
    "CHANNELS",
    "COMPLETENESS",
    "LIMITS",
    "NAME",
    "TRADE_KINDS",
    "VIA",
    "candle_from_archive",
    "candle_from_rest",
    "connections",
    "history",
    "listing",
    "session",
    "trade_from_archive",
    "trade_from_rest",
]

NAME = "binance"
CHANNELS: tuple[ChannelName, ...] = ("trades", "candles", "book", "quotes")
TRADE_KINDS: tuple[str, ...] = ("trade", "aggTrade")
LIMITS = ExchangeLimits(
    ws_url="wss://stream.binance.com:9443",
    rest_url="https://api.binance.com",
    alternative="wss://data-stream.binance.vision with https://data-api.binance.vision, which serve market data alone",
    sends=Rate(4, 1.0),  # it takes 5 a second, and our pongs count
    connects=Rate(300, 300.0),
    weight=Rate(3000, 60.0),  # half of 6000
    subscriptions_per_connection=1024,
    silence_seconds=60.0,  # the server pings every 20 s
    life_seconds=23.5 * 3600,  # it closes a connection at 24 h
)
# A candle's `n`, `f` and `L` count single trades. There is one for each minute while the exchange is up, trades or none:
# https://github.com/binance/binance-public-data/issues/153
COMPLETENESS = CompletenessRules(dense=("trade", "aggTrade"), counted=("trade",), charted=("trade",), empty_candles=True)

PARAMS_PER_MESSAGE = 200
_STREAMS = {"candles": "kline_1m", "book": "depth@100ms", "quotes": "bookTicker"}
_NAME_AT = len(b'{"stream":"')


class _Symbol(Struct):
    symbol: str
    status: str
    base: str = field(name="baseAsset")
    quote: str = field(name="quoteAsset")
    filters: list[dict[str, object]]


class _Listing(Struct):
    symbols: list[_Symbol]


class _Problem(Struct):
    code: int
    msg: str


class _Reply(Struct):
    """Everything that is not an event of a stream we know: acknowledgements, errors (in both documented forms), notices."""

    stream: str = ""
    data: dict[str, object] = {}
    event: str = field(name="e", default="")
    id: int | str | None = None
    result: object | UnsetType = UNSET
    error: _Problem | None = None
    code: int | None = None
    msg: str = ""


_decode_listing = Decoder(_Listing).decode
_decode_reply = Decoder(_Reply).decode


def listing(options: Options) -> Flow[list[Instrument]]:
    """Every spot market. One that is delisted is no longer listed; HALT, BREAK and END_OF_DAY are all `halted`."""
    response = yield Request(f"{options.rest_url}/api/v3/exchangeInfo", weight=20)
    try:
        symbols = _decode_listing(response.body).symbols
    except UNREADABLE as error:
        raise Reject(f"binance: exchangeInfo is not as documented: {error}", reason="shape") from error
    return [_to_instrument(symbol) for symbol in symbols]


def connections(subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
    """As few as possible. The streams are not named in the URL, where 1024 of them have no room, but in messages."""
    size = LIMITS.subscriptions_per_connection
    return [
        Connection(f"{options.ws_url}/stream", tuple(subscriptions[start : start + size]))
        for start in range(0, len(subscriptions), size)
    ]


def session(connection: Connection, options: Options) -> Session:
    return Session(connection, options)


class Session:
    """One connection to `/stream`, where every event stands in an envelope that begins with its stream's name."""

    def __init__(self, connection: Connection, options: Options) -> None:
        subscriptions = connection.subscriptions
        self.last_message_at = [0] * len(subscriptions)
        self.refused: dict[int, str] = {}
        self._names = [stream_name(subscription, options) for subscription in subscriptions]
        self._books = {s.instrument.symbol: Books(s.instrument, options) for s in subscriptions if s.channel == "book"}
        self._streams = [self._open(subscription, options) for subscription in subscriptions]
        self._routes = {name.encode(): (i, self._streams[i]) for i, name in enumerate(self._names)}

    def start(self, now: int) -> Iterable[Output]:
        for number, start in enumerate(range(0, len(self._names), PARAMS_PER_MESSAGE), start=1):
            params = self._names[start : start + PARAMS_PER_MESSAGE]
            yield Send(msgspec.json.encode({"method": "SUBSCRIBE", "params": params, "id": number}).decode())

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        # cut out, not parsed: 70 ns against 300, on the hottest path there is; a frame that is spaced otherwise takes the other one
        route = self._routes.get(frame[_NAME_AT : frame.find(b'"', _NAME_AT)])
        if route is None:
            return self._other(frame, received_at)
        index, stream = route
        self.last_message_at[index] = received_at
        return stream.feed(frame, received_at)

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        return self._books[request.tag].answer(response, now)

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        self._books[request.tag].failed(now)
        return ()

    def tick(self, now: int) -> Sequence[Output]:
        return [output for stream in self._streams for output in stream.tick(now)]

    def _open(self, subscription: Subscription, options: Options) -> Stream:
        instrument = subscription.instrument
        match subscription.channel:
            case "trades":
                return Trades(instrument, options.trade_kind)
            case "candles":
                return Candles(instrument)
            case "book":
                return self._books[instrument.symbol]
            case "quotes":
                return Quotes(instrument, options)

    def _other(self, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            reply = _decode_reply(frame)
        except UNREADABLE as error:
            return (malformed(frame, error),)
        route = self._routes.get(reply.stream.encode())
        if route is None:
            return _to_outputs(reply, frame)
        index, stream = route
        self.last_message_at[index] = received_at
        return stream.feed(frame, received_at)


def stream_name(subscription: Subscription, options: Options) -> str:
    """What the exchange calls a subscription: `btcusdt@trade`."""
    return f"{subscription.instrument.symbol.lower()}@{_STREAMS.get(subscription.channel, options.trade_kind)}"


def _to_outputs(reply: _Reply, frame: bytes) -> Sequence[Output]:
    problem = reply.error or (None if reply.code is None else _Problem(reply.code, reply.msg))
    if problem is not None:
        return (Refused(f"binance: request {reply.id} refused with code {problem.code}: {problem.msg}"),)
    if "serverShutdown" in (reply.event, reply.data.get("e")):
        return (Reconnect("serverShutdown", planned=True),)
    if reply.result is not UNSET:
        return ()
    return (Malformed(frame, "unknown", f"binance: no stream {reply.stream!r} is subscribed here"),)


def _to_instrument(symbol: _Symbol) -> Instrument:
    filters = {str(entry.get("filterType")): entry for entry in symbol.filters}
    return Instrument(
        exchange=NAME,
        symbol=symbol.symbol,
        instrument=f"{symbol.base}/{symbol.quote}",
        base=symbol.base,
        quote=symbol.quote,
        kind="spot",
        status="trading" if symbol.status == "TRADING" else "halted",
        price_step=_step(filters, "PRICE_FILTER", "tickSize"),
        size_step=_step(filters, "LOT_SIZE", "stepSize"),
    )


def _step(filters: dict[str, dict[str, object]], name: str, key: str) -> str | None:
    value = filters.get(name, {}).get(key)
    return value if isinstance(value, str) else None
