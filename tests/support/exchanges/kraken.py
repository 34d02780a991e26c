"""Sessions of Kraken for the tests, and the frames of other projects."""

from __future__ import annotations

from ingest.exchanges.kraken import exchange as kraken
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Session, Subscription
from ingest.records import SECOND, Instrument
from tests.support.recordings import kraken_v1
from tests.support.recordings.files import read

OPTIONS = kraken_v1.OPTIONS
BTC = Instrument("kraken", "BTC/USD", "BTC/USD", "BTC", "USD", "spot", "trading", "0.1", "0.00000001", id=7)
NOW = 1_700_000_000 * SECOND


def open_session(*instruments: Instrument, channel: str, options: ExchangeOptions = OPTIONS) -> Session:
    subscriptions = [Subscription(instrument, channel) for instrument in instruments]
    (connection,) = kraken.connections(subscriptions, options)
    session = kraken.session(connection, options)
    session.start(NOW)
    return session


def nautilus(name: str) -> bytes:
    return read(f"nautilus/kraken/{name}.json")


def trade_frame(trade_id: int, *, kind: str = "update", price: str = "105944.20", time: str = "55.440295Z") -> bytes:
    """The first trade of the nautilus frame, with other values of these fields."""
    return (
        f'{{"channel":"trade","type":"{kind}","data":[{{"symbol":"BTC/USD","side":"buy","price":{price},"qty":0.00027625,'
        f'"ord_type":"limit","trade_id":{trade_id},"timestamp":"2023-10-06T17:35:{time}"}}]}}'
    ).encode()
