"""What exchanges sent to the books of others: odd levels, overlaps, times of the year 9999. One bad element costs itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import count

import pytest

from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Gap, Output, Send, Session
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges import binance
from tests.support.exchanges import coinbase as coinbases
from tests.support.exchanges import okx as okxs
from tests.support.exchanges.binance import NOW, depth_event
from tests.support.recordings.coinbase_level2 import NO_TIME, envelope, event

# two levels a side, of which one is odd
GOOD, ASK = ("buy", "0.00000051", "150000"), ("sell", "0.00000060", "12")
MINUS = [GOOD, ("buy", "0.00000002", "-3"), ASK]
EMPTY = [GOOD, ("buy", "0.00000002", ""), ASK]
EXPONENTS = [("buy", "5.1e-7", "150000"), ("buy", "1e-8", "70"), ASK]
ONLY_ODD = [("buy", "0.00000002", "-3"), ASK]


def coinbase_snapshot(number: int, levels: list[tuple[str, str, str]]) -> bytes:
    return coinbases.frame(envelope(number, "2026-09-21T14:13:20Z", event("snapshot", "NEW-BTC", NO_TIME, levels)))


def books(outputs: Iterable[Output]) -> list[BookSnapshot]:
    return [output for output in outputs if isinstance(output, BookSnapshot)]


@pytest.mark.parametrize(
    ("levels", "bad", "bids"),
    [
        (MINUS, [b"'-3' is not a price or size"], (("0.00000051", "150000"),)),
        (EMPTY, [b"'' is not a price or size"], (("0.00000051", "150000"),)),
        (EXPONENTS, [], (("0.00000051", "150000"), ("0.00000001", "70"))),
    ],
)
def test_an_odd_level_of_a_snapshot_of_coinbase_costs_itself(
    levels: list[tuple[str, str, str]], bad: list[bytes], bids: tuple[object, ...]
) -> None:
    session = coinbases.a_session("book", products=["NEW-BTC"])
    out = session.feed(coinbase_snapshot(0, levels), NOW)
    assert [output.payload for output in out if isinstance(output, Malformed)] == bad
    assert len(out) == len(bad)  # no new subscription
    (book,) = books(session.tick(NOW + 10 * SECOND))
    assert tuple(zip(book.bid_prices, book.bid_sizes, strict=True)) == bids
    assert (book.ask_prices, book.ask_sizes) == (("0.00000060",), ("12",))


def test_snapshots_of_coinbase_that_stay_unreadable_are_asked_for_with_backoff() -> None:
    session = coinbases.a_session("book", products=["NEW-BTC"])
    numbers = count()
    asked = []
    out = list(session.feed(coinbase_snapshot(next(numbers), ONLY_ODD), NOW))
    for quarter in range(4 * 1800):
        now = NOW + quarter * SECOND // 4
        if any(isinstance(output, Send) and '"subscribe"' in output.text for output in out):
            asked.append(quarter // 4)
            out = list(session.feed(coinbase_snapshot(next(numbers), ONLY_ODD), now))  # the answer to the subscription
        else:
            out = []
        out += session.tick(now)
    assert asked == [0, 30, 90, 210, 450, 930, 1530]


def with_book(session: Session, first: int, snapshot: int) -> list[Output]:
    """The first event of a book of Binance, and the answer to its request."""
    (request,) = session.feed(depth_event(first, 101, 1_000, [], []), NOW)
    assert isinstance(request, Request)
    levels = {"bids": [["9", "1"], ["8", "1"]], "asks": [["11", "1"], ["12", "1"]]}
    return list(session.answer(request, Response(200, json.dumps({"lastUpdateId": snapshot} | levels).encode()), NOW))


def test_an_overlap_is_no_hole() -> None:
    session = binance.a_session("book", symbols=["NKNUSDT"], given=binance.options(depth=20))
    out = with_book(session, 98, 100)
    for first, last in ((102, 104), (103, 106), (107, 108)):
        out += session.feed(depth_event(first, last, 1_000 + last, [["9", str(last)]], []), NOW + last)
    assert out == []
    (book,) = books(session.tick(NOW + 60 * SECOND))
    assert (book.sequence, book.bid_sizes) == (108, ("108", "1"))


@pytest.mark.parametrize("year", [b"253370764800000", b"4070908800000"])  # 9999, and 2099, which could be a time
def test_events_of_the_year_9999_cost_a_gap_and_the_book_comes_back(year: bytes) -> None:
    session = binance.a_session("book", symbols=["NKNUSDT"], given=binance.options(depth=20))
    assert with_book(session, 101, 101) == []
    time = str(NOW // 1000 + 2_000).encode()
    far = [depth_event(n, n, 2_000, [["9", "7"]], []).replace(time, year) for n in (102, 103, 104)]
    assert all(year in frame for frame in far)
    out = [output for frame in far for output in session.feed(frame, NOW + 2 * SECOND)]
    assert [type(output) for output in out] == [Malformed, Gap, Malformed, Malformed]
    assert out[1] == Gap(1, "book", "sequence", NOW + SECOND)
    later = NOW + 6 * SECOND
    (request,) = session.feed(depth_event(105, 105, 6_000, [["9", "2"]], []), later)
    assert isinstance(request, Request)
    body = {"lastUpdateId": 105, "bids": [["9", "2"]], "asks": [["11", "1"]]}
    assert session.answer(request, Response(200, json.dumps(body).encode()), later) == [
        Gap(1, "book", "sequence", NOW + SECOND, NOW + 6 * SECOND)
    ]
    (book,) = books(session.feed(depth_event(106, 106, 7_100, [["9", "3"]], []), later + SECOND))
    assert (book.time, book.sequence, book.bid_sizes) == (NOW + 7 * SECOND, 105, ("2",))


def test_a_change_of_the_year_9999_in_a_streamed_book_costs_a_gap_and_the_book_comes_back() -> None:
    session = okxs.open_session(okxs.BTC, channel="book")
    start = okxs.nautilus("ws_books_snapshot")
    assert session.feed(start, okxs.NOW) == []
    frame = json.loads(okxs.nautilus("ws_books_update"))
    frame["data"][0]["ts"] = "253370764800000"
    far = json.dumps(frame).encode()
    assert [type(output) for output in session.feed(far, okxs.NOW)] == [Malformed, Gap, Send, Send]
    assert [type(output) for _ in range(2) for output in session.feed(far, okxs.NOW)] == [Malformed] * 2
    (gap,) = session.feed(start, okxs.NOW + SECOND)
    assert isinstance(gap, Gap)
    assert gap.until is not None
    assert books(session.tick(okxs.NOW + 3600 * SECOND))
