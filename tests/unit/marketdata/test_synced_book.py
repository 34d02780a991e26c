"""A book that is joined to a snapshot of REST: overlaps, quiet markets, malformed levels, one request at a time.

The messages are Gate's; the rules of Gate are in its own tests.
https://www.gate.com/docs/developers/apiv4/ws/en/#order-book-channel
"""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.marketdata.channels import Market
from ingest.marketdata.synced_book import Diff, RestSnapshot, Snapshot, SyncedBook
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Gap, Session
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.gate import BTC, NOW, OPTIONS, open_session, update

T = 1_600_000_000_000  # milliseconds
BIDS, ASKS = [["10", "1"], ["9", "2"]], [["11", "3"], ["12", "4"]]
LATER = NOW + 60 * SECOND


def event_frame(first: int, last: int, at: int = T, bids: Any = (), asks: Any = ()) -> bytes:
    """The documented example with these values; `at` in milliseconds."""
    row = {"t": at, "e": "depthUpdate", "E": at // 1000, "s": "BTC_USDT", "U": first, "u": last, "b": [*bids], "a": [*asks]}
    return update("spot.order_book_update", row)


def snapshot(number: int, bids: Any = BIDS, asks: Any = ASKS, **more: Any) -> Response:
    return Response(200, json.dumps({"id": number, "bids": bids, "asks": asks} | more).encode())


def session_with_request(*frames: bytes, options: ExchangeOptions = OPTIONS) -> tuple[Session, Request]:
    """A session that was fed these frames, and its request."""
    session = open_session(BTC, channel="book", options=options)
    out = [output for frame in frames for output in session.feed(frame, NOW)]
    return session, request_in(out)


def request_in(outputs: Any) -> Request:
    (request,) = requests_in(outputs)
    return request


def requests_in(outputs: Any) -> list[Request]:
    return [request for request in outputs if isinstance(request, Request)]


def books(outputs: Any) -> list[BookSnapshot]:
    return [output for output in outputs if isinstance(output, BookSnapshot)]


# --- which differences follow -------------------------------------------------------------------------------------------------


def test_an_overlap_is_no_gap() -> None:
    """As Binance corrected its documentation on 2025-11-12: only a first number above the last number plus 1 is a gap."""
    session, request = session_with_request(event_frame(98, 101))
    out = list(session.answer(request, snapshot(100), NOW))
    for first, last in ((102, 104), (103, 106), (107, 108)):
        out += session.feed(event_frame(first, last, T + last, bids=[["9", str(last)]]), NOW)
    assert [output for output in out if isinstance(output, Gap | Request)] == []
    (book,) = books(session.tick(LATER))
    assert (book.sequence, book.bid_sizes) == (108, ("1", "108"))


def test_a_jump_is_a_gap_until_the_next_snapshot() -> None:
    session, request = session_with_request(event_frame(98, 101))
    session.answer(request, snapshot(100), NOW)
    later = NOW + 5 * SECOND
    gap, request = session.feed(event_frame(103, 104, T + 1000), later)
    assert gap == Gap(3, "book", "sequence", T * 1000)
    assert session.answer(request, snapshot(104), later) == [replace(gap, until=(T + 1000) * 1000)]


def test_differences_before_a_jump_are_not_joined_to_a_snapshot() -> None:
    session, request = session_with_request(event_frame(98, 101), event_frame(105, 106, T + 5))
    assert session.answer(request, snapshot(101), NOW) == []  # too old: the next difference is 105
    request = request_in(session.tick(NOW + SECOND))
    session.answer(request, snapshot(104), NOW + SECOND)
    (book,) = books(session.tick(LATER))
    assert (book.sequence, book.time) == (106, T * 1000 + SECOND)


# --- a snapshot and the stream ---------------------------------------------------------------------------------------------


def test_a_snapshot_that_the_stream_has_reached_is_written_without_a_further_event() -> None:
    session, request = session_with_request(event_frame(101, 102, T + 1))
    assert session.answer(request, snapshot(102), NOW) == []
    (book,) = books(session.tick(LATER))
    assert (book.time, book.sequence, book.writer, book.received_at) == ((T + 1000) * 1000, 102, "", NOW)


def test_a_snapshot_ahead_of_a_silent_stream_is_written_with_the_name_of_its_writer() -> None:
    session, request = session_with_request(event_frame(101, 102), options=replace(OPTIONS, writer="one"))
    assert session.answer(request, snapshot(110), NOW + SECOND) == []
    assert session.tick(NOW + 3 * SECOND) == []
    assert session.tick(NOW + 4 * SECOND) == []  # applied now
    (book,) = books(session.tick(NOW + 8 * SECOND))
    assert (book.time, book.sequence, book.writer) == (NOW + 5 * SECOND, 110, "one")
    assert session.feed(event_frame(105, 110, T + 100, bids=[["1", "1"]]), NOW + 8 * SECOND) == []
    # the next state has the time of an event again, and every daemon writes the same row
    event = NOW // 1000 + 9_500
    assert session.feed(event_frame(111, 111, event, bids=[["9", "7"]]), NOW + 9 * SECOND) == []
    (book,) = books(session.tick(NOW + 60 * SECOND))
    assert (book.time, book.writer, book.bid_sizes) == (NOW + 10 * SECOND, "", ("1", "7"))


def test_the_snapshot_of_a_silent_market_is_requested_and_written_with_its_own_time() -> None:
    session = open_session(BTC, channel="book")
    assert session.tick(NOW) == []
    request = request_in(session.tick(NOW + 5 * SECOND))
    later = NOW + 6 * SECOND
    assert session.answer(request, snapshot(110, update=T - 4500), later) == []
    session.tick(later + 3 * SECOND)
    (book,) = books(session.tick(later + 4 * SECOND))
    assert (book.time, book.sequence, book.writer) == ((T - 4000) * 1000, 110, "")
    gap, *_ = session.feed(event_frame(115, 116, T + 20_000), later + 20 * SECOND)
    assert gap == Gap(3, "book", "sequence", (T - 4500) * 1000)


def test_differences_without_a_time_have_the_local_time_and_the_name_of_the_writer() -> None:
    """As in the recordings of KuCoin. Here the channel is tested without a session."""
    spec = SyncedBook(Diff, lambda row: row, RestSnapshot("/{}", lambda body: Snapshot(int(body), BIDS, ASKS), 100))
    state = spec.open(Market("x", BTC, replace(OPTIONS, writer="one")))
    assert state.answer is not None
    assert state.tick is not None
    request = request_in(state.feed(Diff(None, 1, 2, (), ()), NOW, False))
    state.answer(Response(200, b"2"), NOW)
    assert request.url == "https://test/BTC_USDT"
    (book,) = state.tick(LATER)
    assert (book.time, book.writer) == (NOW + SECOND, "one")


# --- requests ------------------------------------------------------------------------------------------------------------------


def test_one_request_at_a_time_is_repeated_after_it_failed() -> None:
    session, request = session_with_request(event_frame(101, 102))
    for second in range(1, 3600):  # the transport may wait that long for the exchange's permission
        assert requests_in(session.tick(NOW + second * SECOND)) == []
        assert session.feed(event_frame(102 + second, 102 + second, T + second), NOW + second * SECOND) == []
    later = NOW + 3600 * SECOND
    assert session.failed(request, later) == []
    assert session.tick(later + SECOND - 1) == []
    assert request_in(session.tick(later + SECOND)) == request


def test_a_book_that_the_stream_replaced_does_not_request_again_before_the_response() -> None:
    session, request = session_with_request(event_frame(101, 102))
    whole = update("spot.order_book_update", {"t": T, "s": "BTC_USDT", "U": 103, "u": 110, "full": True, "b": BIDS, "a": ASKS})
    later = NOW + 10 * SECOND
    assert session.feed(whole, later) == []
    assert [type(output) for output in session.feed(event_frame(115, 116, T + 1), later + 10 * SECOND)] == [Gap]
    assert requests_in(session.tick(later + 60 * SECOND)) == []
    (gap,) = session.answer(request, snapshot(115), later + 61 * SECOND)
    assert isinstance(gap, Gap)
    assert gap.until == (T + 1) * 1000


def test_differences_are_kept_for_a_minute() -> None:
    session, request = session_with_request(event_frame(101, 101))
    for second in range(1, 100):
        session.feed(event_frame(101 + second, 101 + second, T + 1000 * second), NOW + second * SECOND)
    assert session.answer(request, snapshot(138), NOW + 99 * SECOND) == []  # the oldest that is kept is 140
    request = request_in(session.tick(NOW + 100 * SECOND))
    session.answer(request, snapshot(139), NOW + 100 * SECOND)
    (book,) = books(session.tick(NOW + 200 * SECOND))
    assert book.sequence == 200


def test_the_kept_differences_of_a_book_have_few_megabytes() -> None:
    """60 of 5,000 levels had 57 MB, and 1,000 were kept."""
    tracemalloc.start()
    try:
        session, request = session_with_request(event_frame(101, 101))
        before, _ = tracemalloc.get_traced_memory()
        for number in range(102, 162):
            session.feed(event_frame(number, number, T + number, asks=[[f"{price}.5", "1"] for price in range(11, 5011)]), NOW)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 6_000_000
    session.answer(request, snapshot(157), NOW)  # the oldest that is kept is 158
    (book,) = books(session.tick(LATER))
    assert book.sequence == 161


def test_a_snapshot_is_not_joined_to_a_stream_that_begins_behind_it() -> None:
    session = open_session(BTC, channel="book")
    session.tick(NOW)
    request = request_in(session.tick(NOW + 5 * SECOND))
    assert session.answer(request, snapshot(110), NOW + 5 * SECOND) == []
    assert session.feed(event_frame(115, 116), NOW + 6 * SECOND) == [request]  # 111 to 114 are missing
    session.answer(request, snapshot(116), NOW + 7 * SECOND)
    (book,) = books(session.tick(LATER))
    assert book.sequence == 116


@pytest.mark.parametrize("failure", [b"<html>", b"[]", b'{"id":102,"bids":[["x","1"]],"asks":[["1","1"]]}', None])
def test_useless_responses_double_the_pause_up_to_a_minute(failure: bytes | None) -> None:
    session, request = session_with_request(event_frame(101, 102))
    at, waits = NOW, []
    for _ in range(9):
        out = session.failed(request, at) if failure is None else session.answer(request, Response(200, failure), at)
        assert [type(output) for output in out] == [Malformed] * (failure is not None)
        start = at
        while not [output for output in session.tick(at) if isinstance(output, Request)]:
            at += SECOND // 4
        waits.append((at - start) / SECOND)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_an_old_snapshot_does_not_double_the_pause() -> None:
    session, request = session_with_request(event_frame(101, 102))
    for second in range(5):
        assert session.answer(request, snapshot(90), NOW + second * SECOND) == []
        assert session.tick(NOW + second * SECOND + SECOND - 1) == []
        request = request_in(session.tick(NOW + second * SECOND + SECOND))


def test_an_unrequested_snapshot_changes_nothing() -> None:
    session, request = session_with_request(event_frame(101, 102))
    session.answer(request, snapshot(102), NOW)
    assert session.answer(request, snapshot(500, [["1", "1"]], []), NOW) == []
    (book,) = books(session.tick(LATER))
    assert book.sequence == 102


# --- malformed levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd", [["0.02", "-3"], ["0.02", ""], ["0.02"], None, ["NaN", "1"], ["0.02", 3], ["1e99", "1"], ["9" * 5000, "1"]]
)
def test_a_malformed_level_of_a_snapshot_is_left_out(odd: Any) -> None:
    session, request = session_with_request(event_frame(101, 102))
    (bad,) = session.answer(request, snapshot(102, [["0.51", "150000"], odd], [["0.60", "12"]]), NOW)
    assert (type(bad), bad.reason) == (Malformed, "value")
    assert len(bad.payload) < 500
    (book,) = books(session.tick(LATER))
    assert (book.bid_prices, book.ask_prices) == (("0.51",), ("0.60",))


def test_the_payload_of_malformed_levels_is_bounded() -> None:
    session, request = session_with_request(event_frame(101, 102))
    (bad,) = session.answer(request, snapshot(102, [["1", "1"], *[["x" * 1000, "1"]] * 5000]), NOW)
    assert len(bad.payload) < 3000
    assert bad.message == "gate: 5000 bad levels of a snapshot"


def test_a_snapshot_with_more_malformed_levels_than_can_be_read_in_time_is_useless() -> None:
    session, request = session_with_request(event_frame(101, 102))
    (bad,) = session.answer(request, snapshot(102, [["1", "1"], *[1] * 10_001]), NOW)
    assert (bad.reason, bad.message) == ("value", "gate: level 1 is not price and size")
    assert len(bad.payload) <= 10_000
    assert session.tick(NOW + SECOND) == [request]


def test_exact_exponents_are_numbers() -> None:
    session, request = session_with_request(event_frame(101, 102))
    assert session.answer(request, snapshot(102, [["5.1e-7", "150000"], ["1e-8", "70"]], [["6E-7", "12"]]), NOW) == []
    session.feed(event_frame(103, 103, T + 1, bids=[["5.2e-7", "1"]]), NOW)
    (book,) = books(session.tick(LATER))
    assert book.bid_prices == ("0.00000052", "0.00000051", "0.00000001")


def test_a_difference_with_a_malformed_level_gives_the_book_up() -> None:
    """The state from before it is not written; the next snapshot that has it closes the gap."""
    session, request = session_with_request(event_frame(101, 102))
    session.answer(request, snapshot(102), NOW)
    bad, gap = session.feed(event_frame(103, 103, T + 1, bids=[["9.5", "1"]], asks=[["11", "-1"]]), NOW + SECOND)
    assert (type(bad), gap) == (Malformed, Gap(3, "book", "sequence", T * 1000))
    assert session.tick(NOW + 4 * SECOND) == []
    assert session.feed(event_frame(104, 104, T + 6000, bids=[["9", "5"]]), NOW + 6 * SECOND) == [request]
    assert session.answer(request, snapshot(103, [["9.5", "1"]]), NOW + 6 * SECOND) == [replace(gap, until=(T + 6000) * 1000)]
    (book,) = books(session.tick(LATER))
    assert (book.sequence, book.bid_prices) == (104, ("9.5", "9"))


@pytest.mark.parametrize("waiting", [True, False])
def test_a_snapshot_from_before_an_unreadable_difference_is_not_applied(waiting: bool) -> None:
    session, request = session_with_request(event_frame(101, 102))
    if not waiting:
        session.answer(request, snapshot(103), NOW)  # it is ahead of the stream
    (bad,) = session.feed(event_frame(103, 103, bids=[["x", "1"]]), NOW)
    assert isinstance(bad, Malformed)
    if waiting:
        session.answer(request, snapshot(102), NOW)
    session.feed(event_frame(104, 104, T + 1), NOW)
    assert books(session.tick(LATER)) == []
