"""KuCoin's book: recorded differences and snapshots compared with plain dictionaries, and what breaks a book.

The joining of a book and its snapshot is tested in `test_gate_book.py`; here are the rules of KuCoin.
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
    """Snapshots by symbol, cut to 100 levels: the recorder requested whole books, which need a key today."""
    recorded_snapshots = {line.url.partition("symbol=")[2]: json.loads(line.text)["data"] for line in recording("KUCOIN.http.0.0")}
    return {symbol: row | {side: row[side][:100] for side in ("bids", "asks")} for symbol, row in recorded_snapshots.items()}


@cache
def ids() -> dict[str, int]:
    return {symbol: number for number, symbol in enumerate(sorted(snapshots()), 1)}


def url(symbol: str) -> str:
    return f"https://test/api/v1/market/orderbook/level2_100?symbol={symbol}"


def play(session: Session, lines: Sequence[Line]) -> list[Output]:
    """Feed the lines; each request gets the recorded snapshot."""
    out: list[Output] = []
    for line in lines:
        outputs = list(session.feed(line.frame, line.time))
        for request in [output for output in outputs if isinstance(output, Request)]:
            body = {"code": "200000", "data": snapshots()[request.tag]}
            outputs += session.answer(request, Response(200, json.dumps(body).encode()), line.time)
        out += outputs
    return out


def expected_books(symbol: str, depth: int, interval: int) -> list[BookSnapshot]:
    """The expected rows. Recorded messages have no time: the grid is that of the recorder's clock, and rows have a writer."""
    snapshot, book, states = snapshots()[symbol], PlainBook(), []
    book.change(snapshot["bids"], snapshot["asks"])
    for line, row in messages():
        if row["symbol"] == symbol and row["sequenceEnd"] >= int(snapshot["sequence"]):
            bids, asks = ([level for level in row["changes"][side] if level[0] != "0"] for side in ("bids", "asks"))
            book.change(bids, asks)
            states.append(replace(book.state(ids()[symbol], line.time, row["sequenceEnd"], line.time, depth), writer="one"))
    return at_ticks(states, interval)


@pytest.mark.parametrize("interval", [SECOND // 10, SECOND])
def test_recorded_books_are_right_at_every_tick(interval: int) -> None:
    options = replace(OPTIONS, book_depth=20, book_interval=interval)
    session = open_session(*(named(symbol, number) for symbol, number in ids().items()), channel="book", options=options)
    lines = [line for line, row in messages() if row["symbol"] in ids()]
    out = [*play(session, lines), *session.tick(lines[-1].time + 3600 * SECOND)]
    expected = [book for symbol in ids() for book in expected_books(symbol, 20, interval)]
    assert len(expected) > 100
    books = [output for output in out if isinstance(output, BookSnapshot)]
    assert sorted(books, key=lambda book: (book.instrument_id, book.time)) == expected
    assert [output for output in out if isinstance(output, Gap | Malformed)] == []
    requested = [output for output in out if isinstance(output, Request)]
    assert {output.tag for output in requested} == set(ids())
    assert all(output == Request(url(output.tag), weight=2, tag=output.tag) for output in requested)


def test_a_lost_event_breaks_the_book() -> None:
    lines = [line for line, row in messages() if row["symbol"] == "SNX-BTC"]
    session = open_session(named("SNX-BTC", 9), channel="book")
    cut = len(lines) // 2
    play(session, lines[:cut])
    gap, *_ = [
        output
        for line in lines[cut + 1 : cut + 50]
        for output in session.feed(line.frame, line.time)
        if not isinstance(output, Request)
    ]
    assert gap == Gap(9, "book", "sequence", lines[cut - 1].time)
    assert session.tick(lines[cut + 50].time) == []


# --- made here, in the documented shapes -----------------------------------------------------------------------------------

BEGIN = 1_600_000_000  # seconds


def event_frame(first: int, last: int, *, at: int = 5000, bids: Sequence[Any] = (), asks: Sequence[Any] = ()) -> bytes:
    """An event in the documented shape; `at` in milliseconds since `BEGIN`."""
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


def test_a_message_with_a_time_makes_a_row_without_a_writer() -> None:
    """The message of 2022 of JKorf's test data, after a snapshot just before it."""
    session = open_session(BTC, channel="book")
    assert reasons(session.feed(jkorf("Subscriptions.Spot.AggBook"), NOW)) == ["Request"]
    assert answer(session, "14103843", bids=[["18891.8", "1"]], asks=[["18906", "9"]]) == []
    asks = [["18906", "0.00331"], ["18907.3", "0.58751503"]]
    bids = [["18891.9", "0.15688"], ["18891.8", "1"]]
    assert session.tick(NOW) == [book(1663747971, bids, asks, 14103847)]


def test_a_busy_market_joins_a_snapshot_that_comes_after_four_seconds() -> None:
    """300 messages a second, and a response that is 4 s old on arrival: no book joined while only 1,000 messages were kept."""
    session = open_session(BTC, channel="book")
    requests = session.feed(event_frame(101, 101), NOW)
    assert [type(output) for output in requests] == [Request]
    for number in range(102, 102 + 1200):
        frame = event_frame(number, number, bids=[["9", str(number), str(number)]])
        assert session.feed(frame, NOW + (number - 101) * SECOND // 300) == []
    assert answer(session, "101") == []
    expected = book(BEGIN + 6, [["10", "1"], ["9", "1301"]], [["11", "3"]], 1301)
    assert session.tick(NOW + 4 * SECOND) == [replace(expected, received_at=NOW + 4 * SECOND)]


def test_of_two_changes_of_a_price_the_higher_sequence_is_applied() -> None:
    session = open_session(BTC, channel="book")
    session.feed(event_frame(101, 103, bids=[["9", "5", "103"], ["9", "7", "102"], ["10", "0", "101"]]), NOW)
    answer(session, "100")
    assert session.tick(NOW) == [book(BEGIN + 6, [["9", "5"]], [["11", "3"]], 103)]


def test_changes_that_the_snapshot_has_already_are_harmless() -> None:
    """As documented, changes up to the sequence of the snapshot may be skipped: later changes of the message override them."""
    session = open_session(BTC, channel="book")
    session.feed(event_frame(101, 103, bids=[["9", "7", "101"], ["9", "0", "102"], ["8", "1", "103"]]), NOW)
    answer(session, "102")
    assert session.tick(NOW) == [book(BEGIN + 6, [["10", "1"], ["8", "1"]], [["11", "3"]], 103)]


def test_a_price_of_zero_only_moves_the_sequence_on() -> None:
    session = open_session(BTC, channel="book")
    session.feed(event_frame(101, 101), NOW)
    answer(session, "100")
    session.feed(event_frame(102, 102, asks=[["0", "0", "102"]]), NOW)
    session.feed(event_frame(103, 103, asks=[["0", "1", "103"]]), NOW)
    assert session.tick(NOW) == [book(BEGIN + 6, [["10", "1"]], [["11", "3"]], 103)]


def test_a_side_of_the_snapshot_may_be_null() -> None:
    session = open_session(BTC, channel="book")
    session.feed(event_frame(101, 101), NOW)
    answer(session, "100", bids=None)
    assert session.tick(NOW) == [book(BEGIN + 6, [], [["11", "3"]], 101)]


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"code":"429000","msg":"Too Many Requests"}', b'{"code":"200000","data":{"sequence":1}}']
)
def test_a_malformed_snapshot_is_requested_again(body: bytes) -> None:
    session = open_session(BTC, channel="book")
    (request,) = session.feed(event_frame(101, 102), NOW)
    assert isinstance(request, Request)
    assert reasons(list(session.answer(request, Response(200, body), NOW)))[0] in ("json", "shape")
    assert session.tick(NOW + SECOND) == [request]


def test_a_snapshot_whose_sequence_is_no_number_is_requested_again() -> None:
    session = open_session(BTC, channel="book")
    (request,) = session.feed(event_frame(101, 102), NOW)
    assert reasons(answer(session, "soon")) == ["value"]
    assert session.tick(NOW + SECOND) == [request]


@pytest.mark.parametrize("level", [["x", "1", "103"], ["9", "-1", "103"], ["9", "1", "soon"], ["9"]])
def test_a_malformed_event_breaks_the_sequence(level: list[str]) -> None:
    session = open_session(BTC, channel="book")
    session.feed(event_frame(101, 102), NOW)
    answer(session, "100")
    reason, gap = reasons(session.feed(event_frame(103, 103, bids=[level]), NOW))
    assert (reason in ("value", "shape"), gap) == (True, "sequence")
    assert reasons(session.feed(event_frame(104, 104), NOW + 5 * SECOND)) == ["Request"]
