"""Coinbase's books: recorded snapshots and updates compared with plain dictionaries, and what breaks a book.

The recording is of the Exchange feed, in the form of Advanced Trade. The other messages are those of nautilus_trader and of the
documentation, with a test's own values:
https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels, "Level2 Channel"
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest.protocol.decode import Malformed
from ingest.protocol.session import Gap, Send
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.coinbase import IDS, a_session, frame, micros, options
from tests.support.exchanges.coinbase_advanced import (
    BTC,
    ETH,
    NOW,
    again,
    begun,
    books,
    expected_books,
    fed,
    gaps,
    heartbeat,
    recorded,
    second,
    snapshot,
    subscriptions,
    update,
)
from tests.support.recordings.coinbase_level2 import NO_TIME, envelope, event
from tests.support.recordings.files import read

# --- recorded books ----------------------------------------------------------------------------------------------------------


def by_key(book: BookSnapshot) -> tuple[int, int]:
    return book.instrument_id, book.time


@pytest.mark.parametrize(("depth", "interval"), [(20, SECOND), (10_000, 10 * SECOND)])
def test_recorded_books_are_right_at_every_tick(depth: int, interval: int) -> None:
    session = a_session("book", given=options(depth, interval))
    lines = recorded()
    out = [output for line in lines for output in session.feed(line.frame, line.time)]
    out += session.tick(lines[-1].time + 60 * SECOND)
    expected = expected_books(IDS, depth, interval)
    assert {book.instrument_id for book in expected} == set(IDS.values())
    assert sorted(out, key=by_key) == sorted(expected, key=by_key)


def test_the_messages_of_nautilus_trader() -> None:
    session = a_session("book", products=[BTC])
    now = micros("2026-04-07T14:30:02Z")
    assert list(session.feed(read("nautilus/coinbase/ws_l2_data_snapshot.json"), now)) == []
    (first,) = session.feed(read("nautilus/coinbase/ws_l2_data_update.json"), now + 1)
    whole = BookSnapshot(
        instrument_id=1,
        time=micros("2026-04-07T14:30:01Z"),
        writer="",
        bid_prices=("68900.00", "68899.50", "68899.00"),
        bid_sizes=("1.50000000", "0.75000000", "2.30000000"),
        ask_prices=("68901.00", "68901.50", "68902.00"),
        ask_sizes=("0.50000000", "1.20000000", "0.80000000"),
        sequence=None,
        received_at=now,
    )
    assert first == whole
    (second,) = session.tick(now + 60 * SECOND)
    assert (second.time, second.bid_sizes[0], second.ask_prices) == (now, "2.00000000", ("68901.50", "68902.00"))


# --- messages of a test ------------------------------------------------------------------------------------------------------


def test_a_market_without_changes_has_its_snapshot_at_the_next_tick() -> None:
    assert books(begun(BTC).tick(NOW + 60 * SECOND)) == [(micros(second(1, "000000")), ("10101.10",), ("10102.55",))]


@pytest.mark.parametrize("no_time", [NO_TIME, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", ""])
def test_an_update_without_a_time_has_the_time_of_the_update_before_it(no_time: str) -> None:
    session = begun(BTC)
    assert books(fed(session, update(1, second(1), ("buy", "10101.30", "1")), NOW + 3)) != []
    assert fed(session, update(2, no_time, ("buy", "10101.40", "1")), NOW + 4) == []
    out = fed(session, update(3, second(2), ("buy", "10101.50", "1")), NOW + 5)
    assert books(out) == [(micros(second(2, "000000")), ("10101.40", "10101.30", "10101.10"), ("10102.55",))]


def test_an_update_has_the_time_of_its_latest_level() -> None:
    session = begun(BTC)
    message = json.loads(update(1, second(1), ("buy", "10101.20", "1"), ("buy", "10101.30", "1"), ("sell", "10103", "1")))
    for level, at in zip(message["events"][0]["updates"], (second(1), second(4), NO_TIME), strict=True):
        level["event_time"] = at
    fed(session, frame(message), NOW + 2)
    assert [book[0] for book in books(session.tick(NOW + 60 * SECOND))] == [micros(second(5, "000000"))]


def test_an_update_that_is_older_than_the_one_before_it_does_not_set_the_time_back() -> None:
    session = begun(BTC)
    fed(session, update(1, second(5), ("sell", "10103", "1")), NOW + 2)
    assert fed(session, update(2, second(3), ("sell", "10104", "1")), NOW + 3) == []
    out = fed(session, update(3, second(6), ("sell", "10105", "1")), NOW + 4)
    assert books(out) == [(micros(second(6, "000000")), ("10101.10",), ("10102.55", "10103", "10104"))]


def test_events_of_several_products_in_one_message() -> None:
    session = begun(BTC, ETH)
    events = [event("update", product, second(1), [("buy", "10101.20", "1")]) for product in (BTC, ETH)]
    fed(session, frame(envelope(2, second(1), *events)), NOW + 2)
    assert [book[1] for book in books(session.tick(NOW + 60 * SECOND))] == [("10101.20", "10101.10")] * 2


def test_the_removal_of_an_unknown_level_is_usual() -> None:
    session = begun(BTC)
    out = fed(session, update(1, second(1), ("buy", "1.00", "0"), ("sell", "99999", "0.00000000")), NOW + 2)
    assert gaps(out) == []
    assert books(session.tick(NOW + 60 * SECOND)) == [(micros(second(2, "000000")), ("10101.10",), ("10102.55",))]


# --- odd levels --------------------------------------------------------------------------------------------------------------

LEVEL = {"side": "bid", "event_time": NO_TIME, "price_level": "0.00000002", "new_quantity": "70"}


@pytest.mark.parametrize(
    "odd",
    [
        LEVEL | {"new_quantity": "-3"},
        LEVEL | {"new_quantity": ""},
        LEVEL | {"new_quantity": 70},
        LEVEL | {"price_level": None},
        LEVEL | {"side": "buy"},
        LEVEL | {"side": ["bid"]},
        {},
        None,
        5,
        "bid",
    ],
)
def test_an_odd_level_of_a_snapshot_is_left_out_and_breaks_an_update(odd: object) -> None:
    session = a_session("book", products=[BTC, ETH])
    message: Any = json.loads(snapshot(0))
    message["events"][0]["updates"].append(odd)
    (bad,) = fed(session, frame(message), NOW)
    assert isinstance(bad, Malformed)
    assert bad.reason == "value"
    fed(session, snapshot(1, product=ETH), NOW)
    message["events"][0]["type"], message["sequence_num"] = "update", 2
    evidence, *broken = fed(session, frame(message), NOW + 1)
    assert isinstance(evidence, Malformed)
    assert broken == [Gap(1, "book", "sequence", NOW), *again(BTC)]
    assert books(session.tick(NOW + 5 * SECOND)) == [(micros(second(1, "000000")), ("10101.10",), ("10102.55",))]  # of ETH-USD


def test_an_exact_exponent_is_a_number() -> None:
    session = a_session("book", products=[BTC])
    levels = [("buy", "5.1e-7", "150000"), ("buy", "1e-8", "70"), ("sell", "0.00000060", "12")]
    assert fed(session, frame(envelope(0, second(0), event("snapshot", BTC, NO_TIME, levels))), NOW) == []
    assert [book[1:] for book in books(session.tick(NOW + 60 * SECOND))] == [(("0.00000051", "0.00000001"), ("0.00000060",))]


# --- breaks ------------------------------------------------------------------------------------------------------------------


def test_a_crossed_book_is_discarded_and_subscribed_again() -> None:
    session = begun(BTC)
    since = micros(second(1))
    fed(session, update(1, second(1), ("buy", "10101.10", "2")), NOW + 2)
    crossed = fed(session, update(2, second(1, "700000"), ("buy", "10102.55", "1")), NOW + 3)
    assert crossed == [Gap(1, "book", "crossed", since), *again(BTC)]
    assert fed(session, update(3, second(2), ("sell", "10102.55", "0")), NOW + 4) == []
    assert session.tick(NOW + 10 * SECOND) == []  # the last request is too recent
    assert session.tick(NOW + 31 * SECOND) == again(BTC)  # no snapshot came
    healed = fed(session, snapshot(4, 5), NOW + 32 * SECOND)
    assert healed == [Gap(1, "book", "crossed", since, micros(second(5)))]
    out = fed(session, update(5, second(6), ("buy", "10101.30", "1")), NOW + 62 * SECOND)
    assert books(out) == [(micros(second(6, "000000")), ("10101.10",), ("10102.55",))]


def test_an_unrequested_snapshot_is_a_gap() -> None:
    """Messages may have been lost at the exchange's side of the connection, where they get their numbers."""
    session = begun(BTC)
    assert gaps(fed(session, snapshot(1, 2), NOW + 3)) == [
        Gap(1, "book", "sequence", NOW),
        Gap(1, "book", "sequence", NOW, micros(second(2))),
    ]


def test_a_lost_message_breaks_every_book_of_the_connection() -> None:
    """Message 3 of 0..4 is lost. The books are subscribed again in one message, and heal one by one."""
    session = begun(BTC, ETH)
    fed(session, update(2, second(1), ("buy", "10101.20", "1")), NOW + 1)
    out = fed(session, update(4, second(2), ("buy", "10101.30", "1")), NOW + 2)
    since = micros(second(1))
    assert out == [Gap(1, "book", "sequence", since), *again(BTC, ETH), Gap(2, "book", "sequence", NOW)]
    assert fed(session, update(5, second(3), ("buy", "10101.40", "1")), NOW + 3) == []  # of before the snapshot
    assert session.tick(NOW + 20 * SECOND) == []  # neither is written
    assert fed(session, snapshot(6, 4, ETH), NOW + 4) == [Gap(2, "book", "sequence", NOW, micros(second(4)))]
    assert fed(session, snapshot(7, 4), NOW + 5) == [Gap(1, "book", "sequence", since, micros(second(4)))]
    assert [book[1] for book in books(session.tick(NOW + 60 * SECOND))] == [("10101.10",)] * 2


def test_repeated_losses_are_paced() -> None:
    session = begun(BTC, ETH)
    sent = []
    for minute in range(60):  # every message is the second after the one before it, and no snapshot comes
        at = NOW + minute * 60 * SECOND
        sent += [output for output in fed(session, heartbeat(4 + 2 * minute), at) if isinstance(output, Send)]
        sent += [output for output in session.tick(at + SECOND) if isinstance(output, Send)]
    assert 8 <= len(sent) // 2 <= 12
    assert sent == again(BTC, ETH) * (len(sent) // 2)


def test_every_message_is_counted() -> None:
    session = begun(BTC)
    assert fed(session, subscriptions(1, BTC), NOW + 1) == []
    assert [fed(session, heartbeat(number), NOW + number) for number in range(2, 6)] == [[]] * 4
    assert session.last_message_at == [NOW]  # a heartbeat is not of this book
    assert gaps(fed(session, update(6, second(1), ("buy", "10101.20", "1")), NOW + 6)) == []
    assert gaps(fed(session, heartbeat(8), NOW + 8)) == [Gap(1, "book", "sequence", micros(second(1)))]


def test_a_repeated_or_earlier_message_is_ignored() -> None:
    session = begun(BTC)
    fed(session, update(1, second(1), ("buy", "10101.20", "1")), NOW + 1)
    fed(session, update(2, second(1), ("buy", "10101.20", "5")), NOW + 2)
    old = update(1, second(1), ("buy", "10101.20", "1"))
    (ignored,) = fed(session, old, NOW + 3)
    assert ignored == Malformed(old, "value", "coinbase: message 1 follows message 2 and is ignored")
    assert gaps(fed(session, update(3, second(2), ("buy", "10101.30", "1")), NOW + 4)) == []
    (book,) = session.tick(NOW + 60 * SECOND)
    assert isinstance(book, BookSnapshot)
    assert (book.bid_prices, book.bid_sizes) == (("10101.30", "10101.20", "10101.10"), ("1", "5", "0.45054140"))


def test_a_message_that_cannot_be_read_is_lost() -> None:
    session = begun(BTC, ETH)
    cut = update(2, second(1), ("buy", "10101.20", "1"))[:-20]
    (bad,) = fed(session, cut, NOW + 1)
    assert isinstance(bad, Malformed)
    assert [gap.instrument_id for gap in gaps(fed(session, heartbeat(3), NOW + 2))] == [1, 2]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"channel": "candles", "sequence_num": 1, "events": []}, "unknown"),
        ({"channel": "l2_data", "events": []}, "unknown"),
        (
            {"channel": "l2_data", "sequence_num": 1, "events": [{"type": "update", "product_id": "XRP-USD", "updates": []}]},
            "unknown",
        ),
        ({"channel": "l2_data", "sequence_num": 1, "events": [{"type": "trade", "product_id": ETH, "updates": []}]}, "shape"),
        ({"channel": "l2_data", "sequence_num": 1, "events": [{"type": "update", "product_id": ETH, "updates": [[]]}]}, "shape"),
        ({"channel": "l2_data", "sequence_num": "1", "events": []}, "shape"),
        ({"channel": "l2_data", "sequence_num": 1, "events": {}}, "shape"),
        ([], "shape"),
    ],
)
def test_a_bad_message_is_kept_and_the_next_one_is_read(message: object, reason: str) -> None:
    session = begun(ETH)
    (bad,) = fed(session, frame(message), NOW + 1)[:1]
    assert isinstance(bad, Malformed)
    assert bad.reason == reason
    fed(session, snapshot(2, 2, ETH), NOW + 2)
    assert books(session.tick(NOW + 60 * SECOND))[-1][0] == micros(second(3, "000000"))
