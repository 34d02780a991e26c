"""Coinbase's book: recorded snapshots and updates compared with plain dictionaries, and what breaks a book.

Payloads that no recording has are examples of the official documentation, named beside each:
https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal

import pytest

from ingest.protocol.decode import Malformed
from ingest.protocol.session import Gap, Output, Send
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.coinbase import IDS, PRODUCTS, a_session, frame, frames, micros, options, play, snapshot

RESUBSCRIBE = [
    Send('{"type":"unsubscribe","channels":[{"name":"level2_batch","product_ids":["BTC-USD"]}]}'),
    Send(
        '{"type":"subscribe","channels":[{"name":"heartbeat","product_ids":["BTC-USD"]},'
        '{"name":"level2_batch","product_ids":["BTC-USD"]}]}'
    ),
]


def oracle(product: str, depth: int, interval: int) -> list[BookSnapshot]:
    """The expected rows, from plain dictionaries. `interval` is in microseconds."""
    lines = [line for line in frames("snapshot", "l2update") if json.loads(line.text)["product_id"] == product]
    messages = [(line, json.loads(line.text)) for line in lines]
    sides = {"buy": dict(messages[0][1]["bids"]), "sell": dict(messages[0][1]["asks"])}
    out = []
    for index, (line, message) in enumerate(messages[1:], start=1):
        for side, price, size in message["changes"]:
            sides[side][price] = size
        tick = (micros(message["time"]) // interval + 1) * interval
        if index + 1 < len(messages) and micros(messages[index + 1][1]["time"]) < tick:
            continue
        bids, asks = (
            sorted(
                ((p, q) for p, q in sides[side].items() if Decimal(q)), key=lambda level: Decimal(level[0]), reverse=side == "buy"
            )[:depth]
            for side in ("buy", "sell")
        )
        out.append(
            BookSnapshot(
                instrument_id=IDS[product],
                time=tick,
                writer="",
                bid_prices=tuple(p for p, _ in bids),
                bid_sizes=tuple(q for _, q in bids),
                ask_prices=tuple(p for p, _ in asks),
                ask_sizes=tuple(q for _, q in asks),
                sequence=None,
                received_at=line.time,
            )
        )
    return out


@pytest.mark.parametrize(("depth", "interval"), [(20, SECOND), (10_000, 10 * SECOND)])
def test_recorded_books_are_right_at_every_tick(depth: int, interval: int) -> None:
    session = a_session("book", given=options(depth, interval))
    lines = frames("snapshot", "l2update")
    out = [*play(session, lines), *session.tick(lines[-1].time + 60 * SECOND)]
    expected = [state for product in PRODUCTS for state in oracle(product, depth, interval)]
    assert expected
    assert sorted(out, key=lambda book: (book.instrument_id, book.time)) == expected


def update(time: str, *changes: list[str]) -> bytes:
    return frame({"type": "l2update", "product_id": "BTC-USD", "time": time, "changes": list(changes)})


def second(number: int, fraction: str = "500000") -> str:
    return f"2019-08-14T20:42:{number:02}.{fraction}Z"


NOW = micros(second(0))


def books(outputs: Sequence[Output]) -> list[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    return [(book.time, book.bid_prices, book.ask_prices) for book in outputs if isinstance(book, BookSnapshot)]


def test_an_update_without_a_time_has_the_time_of_the_update_before_it() -> None:
    session = a_session("book", products=["BTC-USD"])
    session.feed(snapshot(), NOW + 1)
    without_time = "0001-01-01T00:00:00.000000Z"
    assert session.feed(update(without_time, ["buy", "10101.20", "1"]), NOW + 2) == []
    assert session.tick(NOW + 2 * SECOND) == []  # no update had a time yet
    assert session.feed(update(second(1), ["buy", "10101.30", "1"]), NOW + 3) == []
    assert session.feed(update(without_time, ["buy", "10101.40", "1"]), NOW + 4) == []
    out = session.feed(update(second(2), ["buy", "10101.50", "1"]), NOW + 5)
    tick = micros(second(2, "000000"))
    assert books(out) == [(tick, ("10101.40", "10101.30", "10101.20", "10101.10"), ("10102.55",))]


def test_an_update_that_is_older_than_the_one_before_it_does_not_set_the_time_back() -> None:
    session = a_session("book", products=["BTC-USD"])
    session.feed(snapshot(), NOW + 1)
    session.feed(update(second(5), ["sell", "10103", "1"]), NOW + 2)
    assert session.feed(update(second(3), ["sell", "10104", "1"]), NOW + 3) == []
    out = session.feed(update(second(6), ["sell", "10105", "1"]), NOW + 4)
    assert books(out) == [(micros(second(6, "000000")), ("10101.10",), ("10102.55", "10103", "10104"))]


def test_a_crossed_book_is_discarded_and_subscribed_again() -> None:
    session = a_session("book", products=["BTC-USD"])
    session.feed(snapshot(), NOW + 1)
    assert session.feed(update(second(1), ["buy", "10101.10", "2"]), NOW + 2) == []
    crossed = session.feed(update(second(1, "700000"), ["buy", "10102.55", "1"]), NOW + 3)
    since = micros(second(1))
    assert crossed == [Gap(1, "book", "crossed", since), *RESUBSCRIBE]
    assert session.feed(update(second(2), ["sell", "10102.55", "0"]), NOW + 4) == ()
    assert session.tick(NOW + 10 * SECOND) == []  # the last request is too recent
    assert session.tick(NOW + 31 * SECOND) == RESUBSCRIBE  # no snapshot came
    assert session.feed(snapshot(), NOW + 32 * SECOND) == []
    assert session.tick(NOW + 34 * SECOND) == []
    healed = session.feed(update(second(5), ["buy", "10101.20", "1"]), NOW + 34 * SECOND)
    assert healed == [Gap(1, "book", "crossed", since, micros(second(5)))]
    out = session.feed(update(second(6), ["buy", "10101.30", "1"]), NOW + 62 * SECOND)
    assert books(out) == [(micros(second(6, "000000")), ("10101.20", "10101.10"), ("10102.55",))]


def test_the_snapshot_of_a_market_that_sends_nothing_is_written_with_the_name_of_its_writer() -> None:
    """No snapshot has a time. It is written as in a book that is joined to a snapshot of REST: after 3 seconds, with our time."""
    session = a_session("book", products=["BTC-USD"])
    session.feed(snapshot(), NOW + 1)
    rows = [row for quarter in range(480) for row in session.tick(NOW + quarter * SECOND // 4) if isinstance(row, BookSnapshot)]
    (row,) = rows
    assert (row.time, row.writer, row.received_at) == (NOW - SECOND // 2 + 4 * SECOND, "here", NOW + 3 * SECOND + SECOND // 4)
    assert (row.bid_prices, row.ask_sizes) == (("10101.10",), ("0.57753524",))
    # the next state has the time of an event again, and every daemon writes the same row
    session.feed(update(second(59), ["buy", "10101.20", "1"]), NOW + 120 * SECOND)
    (row,) = session.tick(NOW + 121 * SECOND)
    assert isinstance(row, BookSnapshot)
    assert (row.time, row.writer, row.bid_prices) == (micros(second(59, "0")) + SECOND, "", ("10101.20", "10101.10"))


def test_changes_that_never_have_a_time_are_written_by_our_clock() -> None:
    session = a_session("book", products=["BTC-USD"])
    session.feed(snapshot(), NOW)
    rows: list[Output] = []
    for quarter in range(1, 81):  # 20 seconds
        now = NOW + quarter * SECOND // 4
        rows += session.feed(update("0001-01-01T00:00:00Z", ["buy", "10101.20", str(quarter)]), now)
        rows += session.tick(now)
    assert [(row.time, row.bid_sizes[0], row.writer) for row in rows if isinstance(row, BookSnapshot)] == [
        (NOW + SECOND // 2 + second * SECOND, size, "here")
        for second, size in ((3, "13"), (6, "25"), (10, "41"), (13, "53"), (16, "65"), (19, "77"))
    ]


def test_a_crossed_snapshot_without_a_time_is_not_written() -> None:
    session = a_session("book", products=["BTC-USD"])
    assert session.feed(snapshot("10102.55"), NOW) == [Gap(1, "book", "crossed", NOW), *RESUBSCRIBE]
    assert session.tick(NOW + 20 * SECOND) == []


def test_an_unrequested_snapshot_is_a_gap() -> None:
    session = a_session("book", products=["BTC-USD"])
    assert session.feed(snapshot(), NOW + 1) == []
    session.feed(update(second(1), ["buy", "10101.20", "1"]), NOW + 2)
    since = micros(second(1))
    assert session.feed(snapshot(), NOW + 3) == [Gap(1, "book", "sequence", since)]
    assert session.feed(update("0001-01-01T00:00:00Z", ["buy", "10101.30", "1"]), NOW + 4) == []
    assert session.tick(NOW + 2 * SECOND) == []  # no update had a time since the snapshot
    assert session.feed(update(second(5), ["buy", "10101.40", "1"]), NOW + 5) == [
        Gap(1, "book", "sequence", since, micros(second(5)))
    ]
    out = session.feed(update(second(6), ["buy", "10101.50", "1"]), NOW + 6)
    assert books(out) == [(micros(second(6, "000000")), ("10101.40", "10101.30", "10101.10"), ("10102.55",))]


def test_a_malformed_update_breaks_the_book() -> None:
    session = a_session("book", products=["BTC-USD"])
    session.feed(snapshot(), NOW + 1)
    session.feed(update(second(1), ["buy", "10101.10", "2"]), NOW + 2)
    bad, gap, *requested = session.feed(update(second(2), ["buy", "NaN", "1"]), NOW + 3)
    assert isinstance(bad, Malformed)
    assert bad.reason == "value"
    assert gap == Gap(1, "book", "sequence", micros(second(1)))
    assert requested == RESUBSCRIBE
    assert session.feed(update(second(3), ["buy", "10101.10", "3"]), NOW + 4) == ()
