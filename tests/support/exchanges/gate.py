"""Sessions of Gate for the tests, and the frames of the documentation."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from ingest.exchanges.gate import exchange as gate
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Output, Session, Subscription
from ingest.records import SECOND, Instrument

OPTIONS = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind="trade")
BTC = Instrument("gate", "BTC_USDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", "0.1", "0.000001", id=3)
NOW = 1_790_000_000 * SECOND


def named(symbol: str, number: int) -> Instrument:
    return replace(BTC, symbol=symbol, instrument=symbol.replace("_", "/"), id=number)


def open_session(*instruments: Instrument, channel: str, options: ExchangeOptions = OPTIONS) -> Session:
    (connection,) = gate.connections([Subscription(instrument, channel) for instrument in instruments], options)
    session = gate.session(connection, options)
    list(session.start(NOW))
    return session


def update(channel: str, result: dict[str, Any]) -> bytes:
    return json.dumps(
        {"time": 1606292218, "time_ms": 1606292218231, "channel": channel, "event": "update", "result": result}
    ).encode()


def reasons(outputs: list[Output]) -> list[str]:
    return [getattr(output, "reason", type(output).__name__) for output in outputs]
