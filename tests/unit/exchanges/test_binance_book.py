"""Binance's book: recorded differences and snapshots compared with plain dictionaries, and what breaks a book.

Payloads that no recording has are examples of the official documentation, named beside each:
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal

import pytest

from ingest.exchanges.binance.exchange import snapshot
from ingest.marketdata.order_book import Side
from ingest.marketdata.synced_book import trimmed
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Gap, Session
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.binance import (
    IDS,
    NOW,
    REST,
    SYMBOLS,
    a_session,
    data,
    depth_event,
    frames,
    options,
    play,
    rows,
    snapshots,
    url,
)
from tests.support.recordings.files import Line


class Oracle:
    """A recorded book in plain dictionaries, with its state after each event.

    The first event is the first that may belong to the snapshot: its last update id is at least that of the snapshot.
    """

    def __init__(self, symbol: str, lines: Sequence[Line], snapshot: Line) -> None:
        body = json.loads(snapshot.text)
        self.last = body["lastUpdateId"]
        self.sides = {"b": dict(body["bids"]), "a": dict(body["asks"])}
        self.symbol = symbol
        self.events = [
            (line, event)
            for line in lines
            for stream, event in [data(line)]
            if stream == f"{symbol.lower()}@depth@100ms" and event["u"] >= self.last
        ]

    def states(self, depth: int, interval: int) -> Iterator[BookSnapshot]:
        """The expected rows: the state after the last event of each interval that has an event. `interval` is in microseconds."""
        for index, (line, event) in enumerate(self.events):
            for side, levels in self.sides.items():
                for price, size in event[side]:
                    levels[price] = size
            tick = (event["E"] * 1000 // interval + 1) * interval
            following = self.events[index + 1][1]["E"] * 1000 if index + 1 < len(self.events) else tick
            if following >= tick:
                yield self.state(tick, event["u"], line.time, depth)

    def state(self, tick: int, sequence: int, received_at: int, depth: int) -> BookSnapshot:
        bids, asks = (
            sorted(
                ((p, q) for p, q in self.sides[side].items() if Decimal(q)),
                key=lambda level: Decimal(level[0]),
                reverse=side == "b",
            )
            for side in "ba"
        )
        bids, asks = bids[:depth], asks[:depth]
        return BookSnapshot(
            instrument_id=IDS[self.symbol],
            time=tick,
            writer="",
            bid_prices=tuple(p for p, _ in bids),
            bid_sizes=tuple(q for _, q in bids),
            ask_prices=tuple(p for p, _ in asks),
            ask_sizes=tuple(q for _, q in asks),
            sequence=sequence,
            received_at=received_at,
        )


def depth_lines(symbol: str = "") -> list[Line]:
    return [line for line in frames() if f"{symbol.lower()}@depth" in line.text]


@pytest.mark.parametrize("interval", [SECOND // 10, SECOND, 5 * SECOND])
def test_recorded_books_are_right_at_every_tick(interval: int) -> None:
    settings = ExchangeOptions(ws_url="wss://example", rest_url=REST, trade_kind="trade", book_depth=500, book_interval=interval)
    session = a_session("book", given=settings)
    out = [*play(session, depth_lines(), snapshots()), *session.tick(depth_lines()[-1].time + 60 * SECOND)]
    expected = [state for s in SYMBOLS for state in Oracle(s, depth_lines(), snapshots()[url(s)]).states(500, interval)]
    assert expected
    assert sorted(rows(BookSnapshot, out), key=lambda b: (b.instrument_id, b.time)) == expected
    assert rows(Request, out) == [Request(url(symbol), weight=50, tag=symbol) for symbol in SYMBOLS]
    assert rows(Gap, out) == []


def test_a_lost_event_breaks_the_book_until_a_new_snapshot() -> None:
    lines, snapshot = depth_lines("NKNUSDT"), snapshots()[url("NKNUSDT")]
    session = a_session("book", symbols=["NKNUSDT"])
    lost = len(lines) // 2
    before = play(session, lines[:lost], snapshots())
    assert rows(BookSnapshot, before)

    (_, last_good), (_, later) = data(lines[lost - 1]), data(lines[lost + 12])
    broken = session.feed(lines[lost + 1].frame, lines[lost + 1].time)
    gap = Gap(1, "book", "sequence", last_good["E"] * 1000)
    assert broken == [gap, Request(url("NKNUSDT"), weight=50, tag="NKNUSDT")]
    during = [*play(session, lines[lost + 2 : lost + 12], {}), *session.tick(lines[lost + 12].time)]
    assert during == []

    oracle = Oracle("NKNUSDT", lines, snapshot)
    events = [event for _, event in oracle.events if event["u"] < later["U"]]
    for event in events:
        for side in "ba":
            oracle.sides[side].update(event[side])
    fresh = {"lastUpdateId": events[-1]["u"]}
    for name, side in (("bids", "b"), ("asks", "a")):
        fresh[name] = [[p, q] for p, q in oracle.sides[side].items() if Decimal(q)]
    request = broken[1]
    joined = session.answer(request, Response(200, json.dumps(fresh).encode()), lines[lost + 11].time)
    assert joined == [Gap(1, "book", "sequence", gap.since, events[-1]["E"] * 1000)]  # the snapshot is as new as the stream
    healed = [*play(session, lines[lost + 12 :], {}), *session.tick(lines[-1].time + 60 * SECOND)]
    whole = list(Oracle("NKNUSDT", lines, snapshot).states(500, SECOND))
    assert healed == [state for state in whole if state.time > events[-1]["E"] * 1000]


def test_a_snapshot_older_than_the_first_event_is_requested_again() -> None:
    lines = depth_lines("NKNUSDT")
    session = a_session("book", symbols=["NKNUSDT"])
    assert session.tick(lines[0].time) == []  # no request before the first event
    requests = session.feed(lines[1].frame, lines[1].time)
    assert requests == [Request(url("NKNUSDT"), weight=50, tag="NKNUSDT")]
    first = data(lines[1])[1]["U"]
    stale = json.dumps({"lastUpdateId": first - 2, "bids": [], "asks": []}).encode()
    now = lines[1].time + 100
    assert session.answer(requests[0], Response(200, stale), now) == []
    assert session.tick(now + SECOND // 2) == []
    assert session.tick(now + SECOND) == requests
    assert session.tick(now + 2 * SECOND) == []


def test_a_snapshot_that_failed_is_requested_again() -> None:
    line = depth_lines("NKNUSDT")[0]
    session = a_session("book", symbols=["NKNUSDT"], given=options(depth=20))
    (request,) = session.feed(line.frame, line.time)
    assert request == Request(url("NKNUSDT", 100), weight=5, tag="NKNUSDT")
    later = line.time + 3600 * SECOND
    assert session.tick(later) == []
    assert session.failed(request, later) == []
    assert session.tick(later + SECOND) == [request]


def test_a_malformed_snapshot_is_reported_and_requested_again() -> None:
    line = depth_lines("NKNUSDT")[0]
    session = a_session("book", symbols=["NKNUSDT"])
    requests = session.feed(line.frame, line.time)
    (bad,) = session.answer(requests[0], Response(200, b'{"lastUpdateId":"x"}'), line.time)
    assert isinstance(bad, Malformed)
    assert (bad.reason, bad.payload) == ("shape", b'{"lastUpdateId":"x"}')
    assert session.tick(line.time + SECOND) == requests


def full_snapshot(last: int, best: int, count: int = 100) -> bytes:
    """A snapshot of `count` levels on each side: bids from `best` down, asks from `best` + 1 up."""
    bids = [[str(best - i), "1"] for i in range(count)]
    asks = [[str(best + 1 + i), "1"] for i in range(count)]
    return json.dumps({"lastUpdateId": last, "bids": bids, "asks": asks}).encode()


def standing_book() -> Session:
    session = a_session("book", symbols=["NKNUSDT"], given=options(depth=20))
    (request,) = session.feed(depth_event(1, 1, 1_000, [], []), NOW)
    assert session.answer(request, Response(200, full_snapshot(1, 1_000)), NOW + 1) == []
    assert session.feed(depth_event(2, 2, 1_500, [], []), NOW + 2) == []
    return session


def test_a_thin_book_requests_a_new_snapshot_and_is_written_meanwhile() -> None:
    session = standing_book()
    eaten = [[str(1_000 - i), "0"] for i in range(75)]  # 25 of the 100 known bids are left, 20 are written
    first = session.feed(depth_event(3, 3, 6_500, eaten, [["2000", "5"]]), NOW + 10 * SECOND)
    assert [type(output) for output in first] == [BookSnapshot, Request]
    assert session.feed(depth_event(4, 4, 6_600, [["899", "7"]], []), NOW + 11 * SECOND) == []  # beyond the known levels
    (written,) = session.feed(depth_event(5, 5, 7_000, [], []), NOW + 12 * SECOND)
    assert written.bid_prices == tuple(str(925 - i) for i in range(20))
    assert (
        session.answer(first[1], Response(200, full_snapshot(5, 925)), NOW + 13 * SECOND) == []
    )  # all of its events are applied already
    (written,) = session.feed(depth_event(6, 6, 8_000, [["924", "0"]], []), NOW + 14 * SECOND)
    assert written.time == NOW + 8 * SECOND
    (written,) = session.feed(depth_event(7, 7, 9_000, [], []), NOW + 15 * SECOND)
    assert written.bid_prices == ("925", *(str(923 - i) for i in range(19)))


def test_too_few_known_levels_are_never_written() -> None:
    session = standing_book()
    eaten = [[str(1_000 - i), "0"] for i in range(81)]  # 19 known bids are left
    touched = [[str(900 - i), "1"] for i in range(10)]  # and ten levels beyond the snapshot
    out = session.feed(depth_event(3, 3, 6_500, eaten + touched, []), NOW + 10 * SECOND)
    assert [type(output) for output in out] == [BookSnapshot, Gap, Request]
    assert out[0].time == NOW + 2 * SECOND  # the state before it
    assert out[1] == Gap(1, "book", "sequence", NOW + 1_500_000)
    assert session.feed(depth_event(4, 4, 7_500, [], []), NOW + 11 * SECOND) == []


def test_a_side_known_to_its_end_may_be_short() -> None:
    session = a_session("book", symbols=["NKNUSDT"], given=options(depth=20))
    (request,) = session.feed(depth_event(1, 1, 1_000, [], []), NOW)
    session.answer(request, Response(200, full_snapshot(1, 1_000, count=3)), NOW + 1)
    assert session.feed(depth_event(2, 2, 1_500, [], []), NOW + 2) == []
    (written,) = session.feed(depth_event(3, 3, 2_000, [], []), NOW + 3)
    assert (written.bid_prices, written.ask_prices) == (("1000", "999", "998"), ("1001", "1002", "1003"))


def test_events_that_were_sent_before_change_nothing() -> None:
    session = standing_book()
    assert session.feed(depth_event(1, 2, 9_000, [["1000", "0"]], []), NOW + 3) == []
    (written,) = session.feed(depth_event(3, 3, 2_000, [], []), NOW + 4)
    assert written.bid_prices[0] == "1000"


def test_a_crossed_book_is_dropped() -> None:
    session = standing_book()
    out = session.feed(depth_event(3, 3, 1_600, [["1001", "1"]], []), NOW + 10 * SECOND)
    assert out == [Gap(1, "book", "crossed", NOW + 1_500_000), Request(url("NKNUSDT", 100), weight=5, tag="NKNUSDT")]


def test_waiting_events_are_bounded_and_a_sequence_break_among_them_discards_them() -> None:
    session = a_session("book", symbols=["NKNUSDT"], given=options(depth=20))
    (request,) = session.feed(depth_event(1, 1, 1_000, [], []), NOW)
    for update in range(2, 2_000):
        session.feed(depth_event(update, update, 1_000 + update, [], []), NOW + update * SECOND // 10)
    # more than a minute later the events after it are no longer kept
    assert session.answer(request, Response(200, full_snapshot(500, 1_000)), NOW + 1) == []
    session.feed(depth_event(3_000, 3_000, 9_000, [], []), NOW + 2)
    assert session.answer(request, Response(200, full_snapshot(1_500, 1_000)), NOW + 3) == []
    assert session.feed(depth_event(3_001, 3_001, 9_100, [], []), NOW + 4) == []
    assert session.answer(request, Response(200, full_snapshot(3_000, 1_000)), NOW + 5) == []
    (written,) = session.feed(depth_event(3_002, 3_002, 10_000, [], []), NOW + 6)
    assert (written.time, written.sequence) == (NOW + 10 * SECOND, 3_001)


@pytest.mark.parametrize(
    ("depth", "limit"),
    [(5, (100, 5)), (50, (100, 5)), (51, (500, 25)), (500, (1000, 50)), (1000, (5000, 250)), (5000, (5000, 250))],
)
def test_the_smallest_snapshot_that_leaves_room_is_requested(depth: int, limit: tuple[int, int]) -> None:
    rule = snapshot(options(depth=depth))
    assert (rule.levels, rule.weight) == limit


def test_a_side_that_grew_is_cut_and_known_up_to_the_cut() -> None:
    side = Side(descending=True)
    for price in range(1, 22):
        side.set(str(price), "1")
    assert trimmed(side, None, keep=10) == Decimal(12)
    assert side.best(100) == [(str(price), "1") for price in range(21, 11, -1)]
    assert trimmed(side, Decimal(12), keep=10) == Decimal(12)
    for price in range(1, 12):
        side.set(str(price), "1")
    assert trimmed(side, Decimal(15), keep=10) == Decimal(15)  # levels beyond the bound are still unknown
    assert len(side) == 10
