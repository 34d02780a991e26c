"""Messages of Coinbase's Advanced Trade with a test's own values, sessions that have received some, and the recorded books.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels, "Level2 Channel"
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ingest.protocol.session import Gap, Output, Send, Session
from ingest.records import BookSnapshot
from tests.support.exchanges.coinbase import a_session, frame, micros
from tests.support.recordings.coinbase_level2 import NO_TIME, envelope, event, frames
from tests.support.recordings.files import Line, load
from tests.support.recordings.plain import PlainBook, at_ticks

HEARTBEATS = Send('{"type":"subscribe","channel":"heartbeats"}')
BTC, ETH = "BTC-USD", "ETH-USD"


def request(kind: str, *products: str) -> Send:
    ids = ",".join(f'"{product}"' for product in products)
    return Send(f'{{"type":"{kind}","product_ids":[{ids}],"channel":"level2"}}')


def again(*products: str) -> list[Send]:
    return [request("unsubscribe", *products), request("subscribe", *products)]


def second(number: int, fraction: str = "500000") -> str:
    return f"2019-08-14T20:42:{number:02}.{fraction}Z"


NOW = micros(second(0))


def snapshot(number: int, sent: int = 0, product: str = BTC, bid: str = "10101.10", ask: str = "10102.55") -> bytes:
    """Levels as in the example of the documentation, whose levels have the time 1970, sent in this second."""
    levels = [("buy", bid, "0.45054140"), ("sell", ask, "0.57753524")]
    return frame(envelope(number, second(sent), event("snapshot", product, NO_TIME, levels)))


def update(number: int, time: str, *levels: tuple[str, str, str], product: str = BTC) -> bytes:
    return frame(envelope(number, time, event("update", product, time, list(levels))))


def heartbeat(number: int) -> bytes:
    message = load("nautilus/coinbase/ws_heartbeats.json")
    assert isinstance(message, dict)
    return frame(message | {"sequence_num": number})


def subscriptions(number: int, *products: str) -> bytes:
    return frame(envelope(number, second(0), {"subscriptions": {"level2": products}}, channel="subscriptions"))


def books(outputs: Sequence[Output]) -> list[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    return [(book.time, book.bid_prices, book.ask_prices) for book in outputs if isinstance(book, BookSnapshot)]


def gaps(outputs: Sequence[Output]) -> list[Gap]:
    return [output for output in outputs if isinstance(output, Gap)]


def fed(session: Session, message: bytes, now: int) -> list[Output]:
    return list(session.feed(message, now))


def begun(*products: str) -> Session:
    """A session that has the snapshots of these products, as messages 0, 1, ..."""
    session = a_session("book", products=products)
    session.start(NOW)
    assert [fed(session, snapshot(number, product=product), NOW) for number, product in enumerate(products)] == [[]] * len(products)
    return session


def recorded() -> list[Line]:
    """The recorded messages of books."""
    return [line for line in frames("COINBASE.ws.28.0") if '"l2_data"' in line.text]


def expected_books(ids: Mapping[str, int], depth: int, interval: int) -> list[BookSnapshot]:
    """The rows of the recorded messages, from plain dictionaries; `interval` in microseconds.

    A snapshot has the time at which it was sent; no state is older than the one before it.
    """
    changes: defaultdict[str, list[tuple[int, int, list[dict]]]] = defaultdict(list)
    for line in recorded():
        message = json.loads(line.text)
        (each,) = message["events"]
        known, levels = changes[each["product_id"]], each["updates"]
        sent = micros(message["timestamp"] if each["type"] == "snapshot" else levels[0]["event_time"])
        known.append((max(sent, known[-1][0] if known else 0), line.time, levels))
    states = []
    for product, known in changes.items():
        book = PlainBook()
        for (at, received_at, levels), later in zip(known, [*known[1:], None], strict=True):
            bids, asks = ([_level(each) for each in levels if each["side"] == side] for side in ("bid", "offer"))
            book.change(bids, asks)
            if later is None or later[0] // interval > at // interval:  # the last state before a tick
                states.append(book.state(ids[product], at, None, received_at, depth))
    return at_ticks(states, interval)


def _level(row: dict[str, str]) -> list[str]:
    return [row["price_level"], row["new_quantity"]]
