"""A streamed book of which no message has a time yet: it is written by our clock, in the name of the writer.

The messages are those of Coinbase, where a placeholder stands for an unknown time.
"""

from __future__ import annotations

from ingest.protocol.session import Gap, Output
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.coinbase import a_session, frame, micros
from tests.support.exchanges.coinbase_advanced import BTC, NOW, again, second, update
from tests.support.recordings.coinbase_level2 import NO_TIME, envelope, event


def snapshot(bid: str = "10101.10") -> bytes:
    levels = [("buy", bid, "0.45054140"), ("sell", "10102.55", "0.57753524")]
    return frame(envelope(0, NO_TIME, event("snapshot", BTC, NO_TIME, levels)))


def test_the_snapshot_of_a_market_that_sends_nothing_is_written_after_three_seconds() -> None:
    session = a_session("book", products=[BTC])
    session.feed(snapshot(), NOW + 1)
    rows = [row for quarter in range(480) for row in session.tick(NOW + quarter * SECOND // 4) if isinstance(row, BookSnapshot)]
    (row,) = rows
    assert (row.time, row.writer, row.received_at) == (NOW - SECOND // 2 + 4 * SECOND, "here", NOW + 3 * SECOND + SECOND // 4)
    assert (row.bid_prices, row.ask_sizes) == (("10101.10",), ("0.57753524",))
    # the next state has the time of an event again, and every daemon writes the same row
    session.feed(update(1, second(59), ("buy", "10101.20", "1")), NOW + 120 * SECOND)
    (row,) = [row for row in session.tick(NOW + 121 * SECOND) if isinstance(row, BookSnapshot)]
    assert (row.time, row.writer, row.bid_prices) == (micros(second(59, "0")) + SECOND, "", ("10101.20", "10101.10"))


def test_changes_that_never_have_a_time_are_written_every_few_seconds() -> None:
    session = a_session("book", products=[BTC])
    session.feed(snapshot(), NOW)
    rows: list[Output] = []
    for quarter in range(1, 81):  # 20 seconds
        now = NOW + quarter * SECOND // 4
        rows += session.feed(update(quarter, NO_TIME, ("buy", "10101.20", str(quarter))), now)
        rows += session.tick(now)
    expected = ((3, "13"), (6, "25"), (10, "41"), (13, "53"), (16, "65"), (19, "77"))  # each with the last change before its tick
    assert [(row.time, row.bid_sizes[0], row.writer) for row in rows if isinstance(row, BookSnapshot)] == [
        (NOW + SECOND // 2 + number * SECOND, size, "here") for number, size in expected
    ]


def test_a_crossed_snapshot_without_a_time_is_not_written() -> None:
    session = a_session("book", products=[BTC])
    assert session.feed(snapshot("10102.55"), NOW) == (Gap(1, "book", "crossed", NOW), *again(BTC))
    assert not [row for row in session.tick(NOW + 20 * SECOND) if isinstance(row, BookSnapshot)]
