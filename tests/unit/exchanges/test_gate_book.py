"""Gate's book: recorded differences and snapshots compared with plain dictionaries, and what breaks a book.

https://www.gate.com/docs/developers/apiv4/ws/en/#order-book-channel
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import pytest
from msgspec.structs import replace

from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Gap, Output, Session
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.gate import BTC, NOW, OPTIONS, named, open_session, reasons, update
from tests.support.recordings.files import Line, received, recording
from tests.support.recordings.plain import PlainBook, at_ticks


def recorded(symbol: str = "") -> list[Line]:
    name = f'"s":"{symbol}' if symbol else "depthUpdate"
    return [line for line in received("GATEIO.ws.1.0") if "depthUpdate" in line.text and name in line.text]


def snapshots() -> dict[str, Line]:
    """The recorded snapshots by symbol."""
    return {line.url.partition("currency_pair=")[2].partition("&")[0]: line for line in recording("GATEIO.http.0.0")}


@cache
def ids() -> dict[str, int]:
    return {symbol: number for number, symbol in enumerate(sorted(snapshots()), 1)}


def url(symbol: str) -> str:
    return f"https://test/api/v4/spot/order_book?currency_pair={symbol}&limit=100&with_id=true"


def play(session: Session, lines: Sequence[Line], *, answered: bool = True) -> list[Output]:
    """Feed the lines. If `answered`, each request gets the recorded snapshot at once, else no response."""
    out: list[Output] = []
    for line in lines:
        outputs = list(session.feed(line.frame, line.time))
        for request in [output for output in outputs if isinstance(output, Request)] if answered else []:
            outputs += session.answer(request, Response(200, snapshots()[request.tag].frame), line.time)
        out += outputs
    return out


def expected_books(symbol: str, lines: Sequence[Line], depth: int, interval: int) -> list[BookSnapshot]:
    """The expected rows, from a plain dictionary. `interval` is in microseconds."""
    body = json.loads(snapshots()[symbol].text)
    book, states = PlainBook(), []
    book.change(body["bids"], body["asks"])
    for line in lines:
        event = json.loads(line.text)["result"]
        if event["s"] == symbol and event["u"] >= body["id"]:
            book.change(event["b"] or [], event["a"] or [])
            states.append(book.state(ids()[symbol], event["t"] * 1000, event["u"], line.time, depth))
    return at_ticks(states, interval)


@pytest.mark.parametrize("interval", [SECOND // 10, SECOND, 5 * SECOND])
@pytest.mark.parametrize("depth", [1, 20])
def test_recorded_books_are_right_at_every_tick(depth: int, interval: int) -> None:
    options = replace(OPTIONS, book_depth=depth, book_interval=interval)
    session = open_session(*(named(symbol, number) for symbol, number in ids().items()), channel="book", options=options)
    out = [*play(session, recorded()), *session.tick(recorded()[-1].time + 3600 * SECOND)]
    expected = [book for symbol in ids() for book in expected_books(symbol, recorded(), depth, interval)]
    assert len(expected) > 30
    books = [output for output in out if isinstance(output, BookSnapshot)]
    assert sorted(books, key=lambda book: (book.instrument_id, book.time)) == expected
    assert [output for output in out if isinstance(output, Gap | Malformed)] == []
    requested = [output for output in out if isinstance(output, Request)]
    assert {output.tag for output in requested} == set(ids())
    assert all(output == Request(url(output.tag), tag=output.tag) for output in requested)


def omg(depth: int = 20) -> tuple[Session, list[Line]]:
    return open_session(named("OMG_USDT", ids()["OMG_USDT"]), channel="book", options=replace(OPTIONS, book_depth=depth)), recorded(
        "OMG_USDT"
    )


def test_a_lost_event_breaks_the_book_until_a_new_snapshot() -> None:
    session, lines = omg()
    assert {type(output) for output in play(session, lines[:20])} == {BookSnapshot, Request}
    last = json.loads(lines[19].text)["result"]
    first = json.loads(lines[21].text)["result"]
    gap, *requested = play(session, lines[21:], answered=False)
    assert gap == Gap(ids()["OMG_USDT"], "book", "sequence", last["t"] * 1000)
    assert requested == [Request(url("OMG_USDT"), tag="OMG_USDT")]  # one request, because no response came yet; and no row
    # a snapshot just before the first event after the gap, made of all events up to there
    book = PlainBook()
    body = json.loads(snapshots()["OMG_USDT"].text)
    book.change(body["bids"], body["asks"])
    for line in lines[:21]:
        event = json.loads(line.text)["result"]
        if event["u"] >= body["id"]:
            book.change(event["b"] or [], event["a"] or [])
    now = lines[-1].time
    state = book.state(0, 0, None, 0, 100)
    sides = {
        "bids": [*zip(state.bid_prices, state.bid_sizes, strict=True)],
        "asks": [*zip(state.ask_prices, state.ask_sizes, strict=True)],
    }
    answer = Response(200, json.dumps({"id": first["U"] - 1, "current": 0, "update": 0} | sides).encode())
    healed = [*session.answer(requested[0], answer, now), *session.tick(now + 9 * SECOND)]
    assert [output for output in healed if isinstance(output, Gap)] == [replace(gap, until=first["t"] * 1000)]
    expected = [output for output in expected_books("OMG_USDT", lines, 20, SECOND) if output.time > first["t"] * 1000]
    assert [output for output in healed if isinstance(output, BookSnapshot)] == expected


# --- made here, in the documented shapes of "Changed order book levels" and "Get market depth information" ---------------


def event_frame(
    first: int, last: int, *, at: int, bids: Sequence[Sequence[str]] = (), asks: Sequence[Sequence[str]] = (), **more: object
) -> bytes:
    """`at` in milliseconds since `BEGIN`."""
    row = {
        "t": BEGIN * 1000 + at,
        "e": "depthUpdate",
        "E": BEGIN + at // 1000,
        "s": "BTC_USDT",
        "U": first,
        "u": last,
        "b": [*bids],
        "a": [*asks],
    }
    return update("spot.order_book_update", row | more)


def answer(
    session: Session, number: int, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]], now: int = NOW
) -> list[Output]:
    body = {"id": number, "current": 1623898993123, "update": 1623898993121, "asks": [*asks], "bids": [*bids]}
    return list(session.answer(Request(url("BTC_USDT"), tag="BTC_USDT"), Response(200, json.dumps(body).encode()), now))


BEGIN = 1_600_000_000  # seconds
BIDS, ASKS = [["10", "1"], ["9", "2"]], [["11", "3"], ["12", "4"]]
DEPTH_2 = replace(OPTIONS, book_depth=2)
REQUEST = Request(url("BTC_USDT"), tag="BTC_USDT")
PACED = NOW + 5 * SECOND  # the earliest next request of a book whose snapshot came at NOW


def book(
    tick: int, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]], sequence: int, received_at: int = NOW
) -> BookSnapshot:
    sides = [tuple(column) for side in (bids, asks) for column in (zip(*side, strict=True) if side else ((), ()))]
    return BookSnapshot(3, (BEGIN + tick) * SECOND, "", *sides, sequence, received_at)


def standing(options: ExchangeOptions = DEPTH_2) -> Session:
    session = open_session(BTC, channel="book", options=options)
    assert session.feed(event_frame(101, 102, at=5000, bids=[["9", "2"]]), NOW) == [REQUEST]
    assert answer(session, 101, [["10", "1"]], ASKS) == []
    return session


def test_a_snapshot_waits_for_the_stream_to_reach_it() -> None:
    session = open_session(BTC, channel="book", options=DEPTH_2)
    assert session.tick(NOW) == []  # no request before the first event
    assert session.feed(event_frame(101, 102, at=5000), NOW) == [REQUEST]
    assert answer(session, 103, BIDS, ASKS) == []
    assert session.tick(NOW + 2 * SECOND) == []
    assert session.feed(event_frame(103, 104, at=6500, bids=[["9.5", "7"], ["9", "0"]]), NOW + 1) == []
    assert session.tick(NOW) == [book(7, [["10", "1"], ["9.5", "7"]], ASKS, 104, NOW + 1)]


def test_a_snapshot_as_new_as_the_stream_is_written_without_a_further_event() -> None:
    session = open_session(BTC, channel="book", options=DEPTH_2)
    session.feed(event_frame(101, 102, at=5000, bids=BIDS, asks=ASKS), NOW)
    assert answer(session, 102, BIDS, ASKS) == []
    assert session.tick(NOW) == [book(6, BIDS, ASKS, 102)]


def test_a_snapshot_that_is_too_old_is_requested_again() -> None:
    session = open_session(BTC, channel="book", options=DEPTH_2)
    session.feed(event_frame(101, 102, at=5000), NOW)
    assert answer(session, 99, BIDS, ASKS) == []
    assert session.tick(NOW + SECOND // 2) == []
    assert session.tick(NOW + SECOND) == [REQUEST]
    assert answer(session, 100, BIDS, ASKS) == []  # event 101 follows it
    assert session.tick(NOW) == [book(6, BIDS, ASKS, 102)]


def test_an_event_that_was_sent_again_changes_nothing() -> None:
    session = standing()
    session.feed(event_frame(103, 105, at=5100, asks=[["11", "8"]]), NOW)
    assert session.feed(event_frame(101, 102, at=5200, asks=[["11", "3"]]), NOW) == []
    assert session.tick(NOW) == [book(6, BIDS, [["11", "8"], ["12", "4"]], 105)]


def test_a_full_event_replaces_the_book_and_needs_no_snapshot() -> None:
    session = open_session(BTC, channel="book", options=DEPTH_2)
    assert session.feed(event_frame(90, 102, at=5000, bids=BIDS, asks=ASKS, full=True, l="100"), NOW) == []
    assert session.feed(event_frame(103, 103, at=5100, asks=[["11", "8"]]), NOW) == []
    whole = [["8", "1"]], [["20", "2"]]
    before = book(6, BIDS, [["11", "8"], ["12", "4"]], 103)
    assert session.feed(event_frame(104, 110, at=6100, bids=whole[0], asks=whole[1], full=True, l="100"), NOW + 1) == [before]
    assert session.tick(NOW) == [book(7, *whole, 110, NOW + 1)]


def test_a_full_event_closes_the_gap() -> None:
    session = standing()
    gap, request = session.feed(event_frame(105, 106, at=7000), PACED)
    assert (gap, request) == (Gap(3, "book", "sequence", (BEGIN + 5) * SECOND), REQUEST)
    assert session.feed(event_frame(107, 109, at=8000, bids=BIDS, asks=ASKS, full=True), NOW) == [
        Gap(3, "book", "sequence", (BEGIN + 5) * SECOND, (BEGIN + 8) * SECOND)
    ]
    assert answer(session, 105, [], []) == []  # ignored: the book is complete
    assert session.tick(NOW) == [book(9, BIDS, ASKS, 109)]


def test_a_side_that_is_null_is_unchanged() -> None:
    session = standing()
    session.feed(event_frame(103, 103, at=5100, b=None, asks=[["11", "8"]]), NOW)
    assert session.tick(NOW) == [book(6, BIDS, [["11", "8"], ["12", "4"]], 103)]


def test_a_crossed_book_is_never_written() -> None:
    session = standing()
    assert reasons(session.feed(event_frame(103, 103, at=5100, bids=[["11", "1"]]), NOW)) == ["crossed"]
    assert session.tick(PACED - 1) == []
    assert session.tick(PACED) == [REQUEST]


def test_levels_beyond_the_hundred_that_are_sent_are_forgotten() -> None:
    """Their changes are not sent; when they return to the best 100, the exchange sends them again."""
    session = open_session(BTC, channel="book", options=DEPTH_2)
    session.feed(event_frame(101, 101, at=5000), NOW)
    bids = [[str(1000 - i), "1"] for i in range(100)]
    answer(session, 100, bids, [["2000", "1"]])
    session.feed(event_frame(102, 102, at=5100, bids=[["1001", "1"]]), NOW)  # the 101st bid, 901, is forgotten
    removed = [[str(1001 - i), "0"] for i in range(98)]
    session.feed(event_frame(103, 103, at=5200, bids=removed), NOW)
    assert session.tick(NOW)[:1] == [book(6, [["903", "1"], ["902", "1"]], [["2000", "1"]], 103)]
    assert reasons(session.feed(event_frame(104, 104, at=6100, bids=[["903", "0"]]), NOW)) == ["sequence"]


def test_a_thin_book_is_renewed_before_it_breaks() -> None:
    session = open_session(BTC, channel="book", options=DEPTH_2)
    session.feed(event_frame(101, 101, at=5000), NOW)
    answer(session, 100, [[str(1000 - i), "1"] for i in range(100)], [["2000", "1"]])
    later = NOW + 6 * SECOND
    removed = [[str(1000 - i), "0"] for i in range(98)]
    assert reasons(session.feed(event_frame(102, 102, at=5100, bids=removed), later)) == ["Request"]
    assert answer(session, 101, [["902", "1"], ["901", "1"], ["900", "5"], ["899", "5"]], [["2000", "1"]], later) == []
    session.feed(event_frame(103, 103, at=5200, bids=[["902", "0"], ["901", "0"]]), later)
    assert session.tick(later) == [book(6, [["900", "5"], ["899", "5"]], [["2000", "1"]], 103, later)]


@pytest.mark.parametrize("body", [b"<html>", b'{"id":1}', b'{"id":1,"bids":[["x","1"]],"asks":[]}'])
def test_a_malformed_snapshot_is_requested_again(body: bytes) -> None:
    session = open_session(BTC, channel="book")
    session.feed(event_frame(101, 102, at=5000), NOW)
    (bad,) = session.answer(REQUEST, Response(200, body), NOW)
    assert isinstance(bad, Malformed)
    assert session.tick(NOW + SECOND) == [REQUEST]


def test_a_malformed_event_breaks_the_sequence() -> None:
    session = standing()
    assert reasons(session.feed(event_frame(103, 103, at=5100, bids=[["x", "1"]]), NOW)) == ["value", "sequence"]
    assert reasons(session.feed(event_frame(104, 104, at=5200), PACED)) == ["Request"]
