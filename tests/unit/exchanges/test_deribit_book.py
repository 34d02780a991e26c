"""Deribit's book: recorded changes compared with plain dictionaries, and what breaks the sequence."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Gap, Send, Session
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.deribit import BTC, NOW, OPTIONS, digits, edited, named, nautilus, open_session, reasons, recorded
from tests.support.recordings.files import Line
from tests.support.recordings.plain import PlainBook, at_ticks


@cache
def messages() -> list[tuple[Line, dict[str, Any]]]:
    return list(recorded("book"))


@cache
def ids() -> dict[str, int]:
    return {symbol: number for number, symbol in enumerate(sorted({row["instrument_name"] for _, row in messages()}), 1)}


def expected_books(interval: int, depth: int) -> list[BookSnapshot]:
    books: dict[str, PlainBook] = {}
    states = []
    for line, row in messages():
        symbol = row["instrument_name"]
        book = books[symbol] = PlainBook() if row["type"] == "snapshot" else books[symbol]
        book.change(*([[digits(price), digits(size)] for _, price, size in row[side]] for side in ("bids", "asks")))
        states.append(book.state(ids()[symbol], row["timestamp"] * 1000, row["change_id"], line.time, depth))
    return at_ticks(states, interval)


def row_key(book: BookSnapshot) -> tuple[int, int]:
    return book.instrument_id, book.time


@pytest.mark.parametrize("interval", [SECOND // 10, SECOND, 5 * SECOND])
@pytest.mark.parametrize("depth", [1, 500])
def test_recorded_books_are_right_at_every_tick(interval: int, depth: int) -> None:
    options = replace(OPTIONS, book_depth=depth, book_interval=interval)
    session = open_session(*(named(symbol, number) for symbol, number in ids().items()), channel="book", options=options)
    outputs = [output for line, _ in messages() for output in session.feed(line.frame, line.time)]
    outputs += session.tick(messages()[-1][0].time + 3600 * SECOND)
    assert len(messages()) == 46
    assert sorted(outputs, key=row_key) == sorted(expected_books(interval, depth), key=row_key)


def test_a_lost_message_breaks_the_book() -> None:
    symbol = max(ids(), key=lambda name: sum(row["instrument_name"] == name for _, row in messages()))
    rows = [(line, row) for line, row in messages() if row["instrument_name"] == symbol]
    session = open_session(named(symbol, 9), channel="book")
    session.feed(rows[0][0].frame, rows[0][0].time)
    gap, *sends = [output for line, _ in rows[2:] for output in session.feed(line.frame, line.time)]
    assert gap == Gap(9, "book", "sequence", rows[0][1]["timestamp"] * 1000)
    assert [json.loads(send.text)["method"] for send in sends] == ["public/unsubscribe", "public/subscribe"]
    assert {tuple(json.loads(send.text)["params"]["channels"]) for send in sends} == {(f"book.{symbol}.100ms",)}


# --- frames of nautilus_trader's test data ---------------------------------------------------------------------------


def standing(options: ExchangeOptions = OPTIONS) -> Session:
    session = open_session(BTC, channel="book", options=options)
    assert session.feed(nautilus("ws_book_snapshot"), NOW) == []
    return session


def change(previous: int, number: int, *, at: int = 1699999999500, **fields: Any) -> bytes:
    return edited("ws_book_delta", prev_change_id=previous, change_id=number, timestamp=at, **fields)


def test_a_change_that_follows_is_applied_and_written_at_its_tick() -> None:
    session = standing(replace(OPTIONS, book_depth=4))
    assert session.feed(nautilus("ws_book_delta"), NOW + 1) == []
    bids = ("42500.0", "42499.5", "42499.0", "42498.5"), ("950.0", "500.0", "750.0", "300.0")
    asks = ("42501.5", "42502.0", "42502.5", "42503.0"), ("700.0", "400.0", "900.0", "550.0")
    expected = BookSnapshot(3, 1700000000 * SECOND, "", *bids, *asks, 123456790, NOW + 1)
    assert session.feed(change(123456790, 123456791, at=1700000000000), NOW + 2) == [expected]


@pytest.mark.parametrize("previous", [123456788, 123456790, None])
def test_a_sequence_break_discards_the_book_and_subscribes_again(previous: int | None) -> None:
    session = standing()
    gap, *sends = session.feed(change(previous, 123456791), NOW)
    assert gap == Gap(3, "book", "sequence", 1699999999000000)
    assert [type(send) for send in sends] == [Send, Send]
    assert session.feed(change(123456791, 123456792), NOW) == ()  # it was sent before the new snapshot
    assert session.tick(NOW + SECOND) == []
    again = edited("ws_book_snapshot", timestamp=1700000005000, change_id=200)
    assert session.feed(again, NOW) == [Gap(3, "book", "sequence", 1699999999000000, 1700000005000000)]
    assert session.feed(change(200, 201, at=1700000005100), NOW) == []


def test_repeated_subscriptions_are_paced() -> None:
    session = standing()
    sends = []
    for second in range(0, 301, 5):
        outputs = [*session.feed(change(1, 2), NOW + second * SECOND), *session.tick(NOW + second * SECOND)]
        sends += [second for output in outputs if isinstance(output, Send)]
    assert sends == [0, 0, 30, 30, 90, 90, 210, 210]


def test_a_crossed_book_is_never_written() -> None:
    session = standing()
    assert reasons(session.feed(change(123456789, 1, bids=[["new", 42502.0, 1.0]], asks=[]), NOW)) == ["crossed", "Send", "Send"]
    assert session.tick(NOW + 24 * SECOND) == []


@pytest.mark.parametrize("level", [["new", "x", 1.0], ["new", 1.0], ["new", -1.0, 1.0], ["move", 1.0, 1.0], None])
def test_a_malformed_book_message_breaks_that_book(level: Any) -> None:
    session = standing()
    malformed, *broken = session.feed(change(123456789, 123456790, bids=[level]), NOW)
    assert malformed.reason in ("shape", "value")
    assert reasons(broken) == ["sequence", "Send", "Send"]
