"""Coinbase Exchange: trades, the order book and the best bid and ask by websocket, one-minute candles by REST.

https://docs.cdp.coinbase.com/exchange/websocket-feed/overview
https://docs.cdp.coinbase.com/exchange/introduction/rate-limits-overview

What is easily got wrong: `side` is the **maker's**, on the websocket and in REST; and a subscription to `matches` first repeats an
old trade as `last_match`. `level2` needs a key, `level2_batch` gives the same messages without one, every 50 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ingest.errors import Reject
from ingest.exchanges._coinbase_frames import (
    Error,
    Heartbeat,
    LastMatch,
    Match,
    Product,
    Snapshot,
    Subscriptions,
    Ticker,
    Update,
    decode_head,
    decode_message,
    decode_products,
)
from ingest.exchanges._coinbase_past import VIA, history
from ingest.exchanges._coinbase_rest import candles_from_rest, trade_from_rest
from ingest.exchanges._coinbase_streams import CANDLE_DELAY, Books, Candles, Quotes, Trades, to_message
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import CompletenessRules, ExchangeLimits, Options, Rate
from ingest.protocol.http import Flow, Request, Response
from ingest.protocol.session import ChannelName, Connection, Output, Refused, Subscription
from ingest.records import SECOND, Instrument

__all__ = ["CHANNELS", "COMPLETENESS", "LIMITS", "NAME", "TRADE_KINDS", "VIA", "connections", "history", "listing", "session"]
__all__ += ["candles_from_rest", "trade_from_rest"]

NAME = "coinbase"
CHANNELS: tuple[ChannelName, ...] = ("trades", "candles", "book", "quotes")
TRADE_KINDS: tuple[str, ...] = ("match",)
LIMITS = ExchangeLimits(
    ws_url="wss://ws-feed.exchange.coinbase.com",
    rest_url="https://api.exchange.coinbase.com",
    alternative="no other host: Coinbase Exchange serves the countries it is licensed in",
    sends=Rate(50, 1.0),  # it takes 100 a second from one address
    connects=Rate(4, 1.0),  # it takes 8 a second from one address
    weight=Rate(8, 1.0),  # it takes 10 a second from one address
    subscriptions_per_connection=200,
    silence_seconds=15.0,  # every product's heartbeat comes each second
)
# Its candles say of themselves that they "may be incomplete", and there is none for a minute without trades: they prove nothing.
# https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
COMPLETENESS = CompletenessRules(dense=("match",))

UNIFIED = {"CGLD": "CELO"}  # the exchange's name of a currency where ccxt has another
SPREAD = 30 * SECOND  # over which a connection's questions for candles are laid out
STEP = SECOND // 4  # at most 4 of them a second


def listing(options: Options) -> Flow[list[Instrument]]:
    """Every product, also the delisted ones, which stay in the list."""
    response = yield Request(f"{options.rest_url}/products")
    try:
        products = decode_products(response.body)
    except UNREADABLE as error:
        raise Reject(f"coinbase: /products is not as documented: {error}", reason="shape") from error
    return [_to_instrument(product) for product in products]


def connections(subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
    size = LIMITS.subscriptions_per_connection
    return [Connection(options.ws_url, tuple(subscriptions[start : start + size])) for start in range(0, len(subscriptions), size)]


def session(connection: Connection, options: Options) -> Session:
    return Session(connection, options)


class Session:
    """One connection to the feed."""

    def __init__(self, connection: Connection, options: Options) -> None:
        self.refused: dict[int, str] = {}
        self.last_message_at = [0] * len(connection.subscriptions)
        self._index = {(s.channel, s.instrument.symbol): i for i, s in enumerate(connection.subscriptions)}
        by_channel: dict[ChannelName, list[Instrument]] = {channel: [] for channel in CHANNELS}
        for subscription in connection.subscriptions:
            by_channel[subscription.channel].append(subscription.instrument)
        step = min(STEP, SPREAD // max(1, len(by_channel["candles"])))
        self._trades = {i.symbol: Trades(i) for i in by_channel["trades"]}
        self._books = {i.symbol: Books(i, options) for i in by_channel["book"]}
        self._quotes = {i.symbol: Quotes(i, options) for i in by_channel["quotes"]}
        self._candles = {i.symbol: Candles(i, options, CANDLE_DELAY + n * step) for n, i in enumerate(by_channel["candles"])}

    def start(self, now: int) -> Iterable[Output]:
        for candles in self._candles.values():
            candles.start(now)
        everything = list(dict.fromkeys(product for _, product in self._index))
        channels = {
            "heartbeat": everything,  # also where only candles are wanted: a feed without a subscription is closed after 5 s
            "matches": list(self._trades),
            "level2_batch": list(self._books),
            "ticker": list(self._quotes),
        }
        return (to_message("subscribe", channels),)

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            message = decode_message(frame)
        except UNREADABLE as error:
            return self._unreadable(frame, error, received_at)
        match message:
            case Subscriptions():
                return ()
            case Error(message=text, reason=reason):
                return (Refused(f"coinbase: {text}: {reason}"),)
            case Heartbeat(product_id=product):
                return self._beat(message, product, received_at)
        product = message.product_id
        channel: ChannelName
        match message:
            case Match() | LastMatch() if trades := self._trades.get(product):
                channel, out = "trades", trades.feed(message, received_at)
            case Update() if books := self._books.get(product):
                channel, out = "book", books.feed(message, received_at)
            case Snapshot() if books := self._books.get(product):
                channel, out = "book", books.begin(message, received_at)
            case Ticker() if quotes := self._quotes.get(product):
                channel, out = "quotes", quotes.feed(message, received_at)
            case _:
                return (Malformed(frame, "unknown", f"coinbase: {product} is not subscribed on that channel"),)
        self.last_message_at[self._index[channel, product]] = received_at
        return out

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        self.last_message_at[self._index["candles", request.tag]] = now
        return self._candles[request.tag].answer(response, now)

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        return ()  # the candles ask again by themselves

    def tick(self, now: int) -> Sequence[Output]:
        paced: list[Books | Quotes | Candles] = [*self._books.values(), *self._quotes.values(), *self._candles.values()]
        return [output for stream in paced for output in stream.tick(now)]

    def _beat(self, heartbeat: Heartbeat, product: str, received_at: int) -> Sequence[Output]:
        trades = self._trades.get(product)
        if trades is None:
            return ()
        self.last_message_at[self._index["trades", product]] = received_at
        return trades.beat(heartbeat)

    def _unreadable(self, frame: bytes, error: Exception, now: int) -> Sequence[Output]:
        """A lost trade shows by its id, but a lost update of a book shows nowhere else."""
        try:
            head = decode_head(frame)
        except UNREADABLE:
            return (malformed(frame, error),)
        match head.type:
            case "snapshot" | "l2update" if books := self._books.get(head.product_id):
                return (malformed(frame, error), *books.lost(now))
            case "ticker" if quotes := self._quotes.get(head.product_id):
                return (malformed(frame, error), *quotes.lost(now))
            case "match" | "last_match" | "heartbeat" | "snapshot" | "l2update" | "ticker" | "subscriptions" | "error":
                return (malformed(frame, error),)
        return (Malformed(frame, "unknown", f"coinbase: no message of type {head.type!r} is known"),)


def _to_instrument(product: Product) -> Instrument:
    base = UNIFIED.get(product.base_currency, product.base_currency)
    quote = UNIFIED.get(product.quote_currency, product.quote_currency)
    return Instrument(
        exchange=NAME,
        symbol=product.id,
        instrument=f"{base}/{quote}",
        base=base,
        quote=quote,
        kind="spot",
        status=_status(product),
        price_step=product.quote_increment,
        size_step=product.base_increment,
    )


def _status(product: Product) -> str:
    if product.status == "delisted":
        return "delisted"
    trading = product.status == "online" and not product.trading_disabled and not product.cancel_only
    return "trading" if trading else "halted"
