"""KuCoin's book: recorded differences and snapshots against plain dictionaries, and what can break it.

How a book and its snapshot are joined is proven in `test_gate_book.py`; here is what is KuCoin's own.
https://www.kucoin.com/docs-new/3470069w0 (Orderbook - Increment)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Gap, Output, Session
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.kucoin import BTC, NOW, OPTIONS, jkorf, message, named, open_session, reasons, recorded
from tests.support.recordings.files import Line, recording
from tests.support.recordings.plain import PlainBook, at_ticks


@cache
def messages() -> list[tuple[Line, dict[str, Any]]]:
    return list(recorded("/market/level2:"))


def snapshots() -> dict[str, dict[str, Any]]:
    """By symbol, cut to a hundred levels: the recorder asked for all of them, which today needs a key."""
    said = {line.url.partition("symbol=")[2]: json.loads(line.text)["data"] for line in recording("KUCOIN.http.0.0")}
    return {symbol: row | {side: row[side][:100] for side in ("bids", "asks")} for symbol, row in said.items()}


@cache
def ids() -> dict[str, int]:
    return {symbol: number for number, symbol in enumerate(sorted(snapshots()), 1)}


def url(symbol: str) -> str:
    return f"https://test/api/v1/market/orderbook/level2_100?symbol={symbol}"


def play(session: Session, lines: Sequence[Line]) -> list[Output]:
    """Feed the lines; who asks is answered by the recorded snapshot."""
    out: list[Output] = []
    for line in lines:
        said = list(session.feed(line.frame, line.time))
        for request in [one for one in said if isinstance(one, Request)]:
            body = {"code": "200000", "data": snapshots()[request.tag]}
            said += session.answer(request, Response(200, json.dumps(body).encode()), line.time)
        out += said
    return out


def expected_books(symbol: str, depth: int, every: int) -> list[BookSnapshot]:
    """The recorded messages say no time: the grid is that of the recorder's clock, and the row names its writer."""
    snapshot, book, states = snapshots()[symbol], PlainBook(), []
    book.change(snapshot["bids"], snapshot["asks"])
    for line, row in messages():
        if row["symbol"] == symbol and row["sequenceEnd"] >= int(snapshot["sequence"]):
            bids, asks = ([level for level in row["changes"][side] if level[0] != "0"] for side in ("bids", "asks"))
            book.change(bids, asks)
            states.append(replace(book.state(ids()[symbol], line.time, row["sequenceEnd"], line.time, depth), writer="one"))
    return at_ticks(states, every)


@pytest.mark.parametrize("every", [SECOND // 10, SECOND])
def test_recorded_books_are_right_at_every_tick(every: int) -> None:
    options = replace(OPTIONS, book_depth=20, book_interval=every)
    session = open_session(*(named(symbol, number) for symbol, number in ids().items()), channel="book", options=options)
    lines = [line for line, row in messages() if row["symbol"] in ids()]
    out = [*play(session, lines), *session.tick(lines[-1].time + 3600 * SECOND)]
    expected = [book for symbol in ids() for book in expected_books(symbol, 20, every)]
    assert len(expected) > 100
    books = [one for one in out if isinstance(one, BookSnapshot)]
    assert sorted(books, key=lambda book: (book.instrument_id, book.time)) == expected
    assert [one for one in out if isinstance(one, Gap | Malformed)] == []
    asked = [one for one in out if isinstance(one, Request)]
    assert {one.tag for one in asked} == set(ids())
    assert all(one == Request(url(one.tag), weight=2, tag=one.tag) for one in asked)


def test_a_lost_event_breaks_the_book() -> None:
    lines = [line for line, row in messages() if row["symbol"] == "SNX-BTC"]
    session = open_session(named("SNX-BTC", 9), channel="book")
    cut = len(lines) // 2
    play(session, lines[:cut])
    gap, *_ = [
        one for line in lines[cut + 1 : cut + 50] for one in session.feed(line.frame, line.time) if not isinstance(one, Request)
    ]
    assert gap == Gap(9, "book", "sequence", lines[cut - 1].time)
    assert session.tick(lines[cut + 50].time) == []


# --- by hand -----------------------------------------------------------------------------------------------------------

BEGIN = 1_600_000_000  # seconds


def diff(first: int, last: int, *, at: int = 5000, bids: Sequence[Any] = (), asks: Sequence[Any] = ()) -> bytes:
    """In the shape of the documentation; `at` in milliseconds since `BEGIN`."""
    data = {
        "changes": {"asks": [*asks], "bids": [*bids]},
        "sequenceEnd": last,
        "sequenceStart": first,
        "symbol": "BTC-USDT",
        "time": BEGIN * 1000 + at,
    }
    return message("/market/level2:BTC-USDT", data)


def answer(session: Session, sequence: object, *, bids: Any = (("10", "1"),), asks: Any = (("11", "3"),)) -> list[Output]:
    body = {"code": "200000", "data": {"sequence": sequence, "time": 1, "bids": bids, "asks": asks}}
    return list(session.answer(Request(url("BTC-USDT"), weight=2, tag="BTC-USDT"), Response(200, json.dumps(body).encode()), NOW))


def book(tick: int, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]], sequence: int) -> BookSnapshot:
    sides = [tuple(column) for side in (bids, asks) for column in (zip(*side, strict=True) if side else ((), ()))]
    return BookSnapshot(3, tick * SECOND, "", *sides, sequence, NOW)


def test_todays_messages_say_their_time_and_two_daemons_write_the_same_row() -> None:
    """JKorf's message of 2022, joined to a snapshot of just before it."""
    session = open_session(BTC, channel="book")
    assert reasons(session.feed(jkorf("Subscriptions.Spot.AggBook"), NOW)) == ["Request"]
    assert answer(session, "14103843", bids=[["18891.8", "1"]], asks=[["18906", "9"]]) == []
    asks = [["18906", "0.00331"], ["18907.3", "0.58751503"]]
    bids = [["18891.9", "0.15688"], ["18891.8", "1"]]
    assert session.tick(NOW) == [book(1663747971, bids, asks, 14103847)]


def test_of_two_changes_of_one_price_the_later_sequence_holds() -> None:
    session = open_session(BTC, channel="book")
    session.feed(diff(101, 103, bids=[["9", "5", "103"], ["9", "7", "102"], ["10", "0", "101"]]), NOW)
    answer(session, "100")
    assert session.tick(NOW) == [book(BEGIN + 6, [["9", "5"]], [["11", "3"]], 103)]


def test_changes_that_the_snapshot_has_already_do_no_harm() -> None:
    """ "Skip rows whose sequence is not above the snapshot's": what they set, the rest of the message sets again."""
    session = open_session(BTC, channel="book")
    session.feed(diff(101, 103, bids=[["9", "7", "101"], ["9", "0", "102"], ["8", "1", "103"]]), NOW)
    answer(session, "102")
    assert session.tick(NOW) == [book(BEGIN + 6, [["10", "1"], ["8", "1"]], [["11", "3"]], 103)]


def test_a_price_of_zero_only_moves_the_sequence_on() -> None:
    session = open_session(BTC, channel="book")
    session.feed(diff(101, 101), NOW)
    answer(session, "100")
    session.feed(diff(102, 102, asks=[["0", "0", "102"]]), NOW)
    session.feed(diff(103, 103, asks=[["0", "1", "103"]]), NOW)
    assert session.tick(NOW) == [book(BEGIN + 6, [["10", "1"]], [["11", "3"]], 103)]


def test_a_side_of_the_snapshot_may_be_null() -> None:
    session = open_session(BTC, channel="book")
    session.feed(diff(101, 101), NOW)
    answer(session, "100", bids=None)
    assert session.tick(NOW) == [book(BEGIN + 6, [], [["11", "3"]], 101)]


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"code":"429000","msg":"Too Many Requests"}', b'{"code":"200000","data":{"sequence":1}}']
)
def test_a_snapshot_that_is_none_is_asked_for_again(body: bytes) -> None:
    session = open_session(BTC, channel="book")
    (asked,) = session.feed(diff(101, 102), NOW)
    assert isinstance(asked, Request)
    assert reasons(list(session.answer(asked, Response(200, body), NOW)))[0] in ("json", "shape")
    assert session.tick(NOW + SECOND) == [asked]


def test_a_sequence_that_is_no_number_is_no_snapshot() -> None:
    session = open_session(BTC, channel="book")
    (asked,) = session.feed(diff(101, 102), NOW)
    assert reasons(answer(session, "soon")) == ["value"]
    assert session.tick(NOW + SECOND) == [asked]


@pytest.mark.parametrize("level", [["x", "1", "103"], ["9", "-1", "103"], ["9", "1", "soon"], ["9"]])
def test_an_event_that_cannot_be_read_breaks_the_sequence(level: list[str]) -> None:
    session = open_session(BTC, channel="book")
    session.feed(diff(101, 102), NOW)
    answer(session, "100")
    assert reasons(session.feed(diff(103, 103, bids=[level]), NOW))[0] in ("value", "shape")
    assert reasons(session.feed(diff(104, 104), NOW + 5 * SECOND)) == ["sequence", "Request"]
