"""Sessions of OKX for the tests, and the frames of other projects."""

from __future__ import annotations

from msgspec.structs import replace

from ingest.exchanges.okx import exchange as okx
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Output, Session, Subscription
from ingest.records import SECOND, Instrument
from tests.support.recordings.files import read

OPTIONS = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind="trades-all")
MERGED = replace(OPTIONS, trade_kind="trades")
BTC = Instrument("okx", "BTC-USDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", "0.1", "0.00000001", id=3)
NOW = 1_790_000_000 * SECOND


def open_session(*instruments: Instrument, channel: str, options: ExchangeOptions = OPTIONS) -> Session:
    (connection,) = okx.connections([Subscription(instrument, channel) for instrument in instruments], options)
    session = okx.session(connection, options)
    session.start(NOW)
    return session


def nautilus(name: str) -> bytes:
    return read(f"nautilus/okx/{name}.json")


def reasons(outputs: list[Output]) -> list[str]:
    return [getattr(output, "reason", type(output).__name__) for output in outputs]
