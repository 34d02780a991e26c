"""Sessions of Coinbase Exchange for the tests, the recorded frames, and the documented frames with a test's own values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from ingest.exchanges.coinbase import exchange as coinbase
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import ChannelName, Output, Session, Subscription
from ingest.records import SECOND, Instrument, Trade
from tests.support.recordings.files import Line, received

PRODUCTS = ("SKL-USD", "SKL-BTC", "BAND-GBP", "NMR-EUR", "BAND-BTC", "YFI-BTC", "DASH-BTC", "NU-GBP", "CRV-EUR", "SKL-GBP")
IDS = {product: number for number, product in enumerate(PRODUCTS, start=1)}
REST = "https://api.exchange.coinbase.com"
TAKER = {"buy": "sell", "sell": "buy"}


def an_instrument(product: str, number: int = 1) -> Instrument:
    return Instrument("coinbase", product, product.replace("-", "/"), "", "", "spot", "trading", id=number)


def options(depth: int = 20, every: int = SECOND) -> ExchangeOptions:
    return ExchangeOptions(
        ws_url="wss://example", rest_url=REST, trade_kind="match", book_depth=depth, book_interval=every, writer="here"
    )


def a_session(*channels: ChannelName, products: Sequence[str] = PRODUCTS, given: ExchangeOptions | None = None) -> Session:
    given = given or options()
    subscriptions = tuple(
        Subscription(an_instrument(product, number), channel)
        for number, product in enumerate(products, start=1)
        for channel in channels
    )
    return coinbase.session(coinbase.connections(subscriptions, given)[0], given)


def frames(*types: str) -> list[Line]:
    lines = received("COINBASE.ws.28.0")
    return [line for line in lines if json.loads(line.text)["type"] in types]


def play(session: coinbase.Session, lines: Sequence[Line]) -> list[Output]:
    return [output for line in lines for output in session.feed(line.frame, line.time)]


def micros(text: str) -> int:
    """Microseconds of an RFC 3339 time, computed in another way than by the code: whole seconds and six digits of a fraction."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int(datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())
    return seconds * SECOND + int(fraction.ljust(6, "0")[:6] or 0)


def frame(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


MATCH_TIME = micros("2014-11-07T08:19:27.028459Z")
NOW = micros("2014-11-07T08:19:28Z")


def match_message(trade_id: int, kind: str = "match", **changes: object) -> bytes:
    """The example of the documentation, "Match", with these fields edited."""
    message = {
        "type": kind,
        "trade_id": trade_id,
        "sequence": 50,
        "maker_order_id": "ac928c66-ca53-498f-9c13-a110027a60e8",
        "taker_order_id": "132fb6ae-456b-4654-b4e0-d681ac05cea1",
        "time": "2014-11-07T08:19:27.028459Z",
        "product_id": "BTC-USD",
        "size": "5.23512",
        "price": "400.23",
        "side": "sell",
    }
    return frame(message | changes)


def heartbeat(last_trade_id: int, second: int) -> bytes:
    """The example of the documentation, "Heartbeat", with these fields edited."""
    time = f"2014-11-07T08:19:{second:02}.464459Z"
    return frame({"type": "heartbeat", "sequence": 90, "last_trade_id": last_trade_id, "product_id": "BTC-USD", "time": time})


def btc_trade(trade_id: int) -> Trade:
    return Trade(1, MATCH_TIME, trade_id, "400.23", "5.23512", "buy", NOW + 5)
