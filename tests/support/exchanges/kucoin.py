"""Sessions of KuCoin for the tests, and the frames of recordings and other projects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from ingest.exchanges.kucoin import exchange as kucoin
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Output, Session, Subscription
from ingest.records import SECOND, Instrument
from tests.support.recordings.files import Line, read, received

OPTIONS = ExchangeOptions(ws_url=kucoin.LIMITS.ws_url, rest_url="https://test", trade_kind="match", writer="one")
BTC = Instrument("kucoin", "BTC-USDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", "0.1", "0.00000001", id=3)
NOW = 1_790_000_000 * SECOND
WELCOME = b'{"id":"NSkIrWGB1s","type":"welcome"}'  # as recorded


def named(symbol: str, number: int) -> Instrument:
    return replace(BTC, symbol=symbol, instrument=symbol.replace("-", "/"), id=number)


def open_session(*instruments: Instrument, channel: str, options: ExchangeOptions = OPTIONS) -> Session:
    (connection,) = kucoin.connections([Subscription(instrument, channel) for instrument in instruments], options)
    session = kucoin.session(connection, options)
    assert session.start(NOW) == ()
    session.feed(WELCOME, NOW)
    return session


def message(topic: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"type": "message", "topic": topic, "subject": "any", "data": data}).encode()


def recorded(topic: str) -> Iterator[tuple[Line, dict[str, Any]]]:
    """The recorded messages whose topic begins with `topic`, with their data."""
    for line in received("KUCOIN.ws.1.0"):
        decoded = json.loads(line.text)
        if decoded.get("topic", "").startswith(topic):
            yield line, decoded["data"]


def jkorf(name: str) -> bytes:
    """The payload of one of JKorf's files: the message below the subscription, or the answer below three lines of the request."""
    text = read(f"jkorf_kucoin/{name}.txt")
    return text.split(b"\n= ", 1)[1] if name.startswith("Subscriptions") else text.split(b"\n", 3)[3]


def reasons(outputs: list[Output]) -> list[str]:
    return [getattr(output, "reason", type(output).__name__) for output in outputs]
