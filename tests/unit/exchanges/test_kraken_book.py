"""Kraken's book and quotes: checksums, and a book that breaks and recovers, with frames of documentation and other projects."""

from __future__ import annotations

import json
import re
from binascii import crc32
from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from ingest.exchanges.kraken import exchange as kraken
from ingest.protocol.decode import Malformed
from ingest.protocol.session import Gap, Output, Relist, Send, Subscription
from ingest.records import SECOND, BookSnapshot, Quote
from tests.support.exchanges.kraken import BTC, NOW, OPTIONS, nautilus, open_session


def book_frame(name: str, checksum: int, time: str = "55.440295Z") -> bytes:
    """A frame of nautilus_trader with the correct checksum of its book, and with this time."""
    frame = nautilus(name)
    old = str(json.loads(frame)["data"][0]["checksum"]).encode()
    return frame.replace(old, str(checksum).encode()).replace(b"55.440295Z", time.encode())


ASKS = "10594430" + "13600000" + "10594690" + "9500000" + "10595580" + "300000"
BIDS = "10593540" + "2400000" + "10592010" + "5200000"
SNAPSHOT = crc32(f"{ASKS}10594420{13600000}{BIDS}".encode())
UPDATE = crc32(f"{ASKS}10594420{25000000}{BIDS}".encode())


def test_a_book_message_is_stored_with_the_digits_of_the_frame() -> None:
    session = open_session(BTC, channel="book")
    assert session.feed(book_frame("ws_book_snapshot", SNAPSHOT), NOW) == []
    assert session.feed(book_frame("ws_book_update", UPDATE, "55.900000Z"), NOW + 1) == []
    row = BookSnapshot(
        7, 1696613756 * SECOND, "",
        ("105944.20", "105935.40", "105920.10"), ("0.250", "0.024", "0.052"),
        ("105944.30", "105946.90", "105955.80"), ("0.136", "0.095", "0.003"),
        None, NOW + 1,
    )  # fmt: skip
    assert session.feed(book_frame("ws_book_update", UPDATE, "56.000000Z"), NOW + 2) == [row]


# the worked example of https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2
DOCUMENTED = b"""{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[
{"price":45283.5,"qty":0.10000000},{"price":45283.4,"qty":1.54582015},{"price":45282.1,"qty":0.10000000},
{"price":45281.0,"qty":0.10000000},{"price":45280.3,"qty":1.54592586},{"price":45279.0,"qty":0.07990000},
{"price":45277.6,"qty":0.03310103},{"price":45277.5,"qty":0.30000000},{"price":45277.3,"qty":1.54602737},
{"price":45276.6,"qty":0.15445238}],"asks":[
{"price":45285.2,"qty":0.00100000},{"price":45286.4,"qty":1.54571953},{"price":45286.6,"qty":1.54571109},
{"price":45289.6,"qty":1.54560911},{"price":45290.2,"qty":0.15890660},{"price":45291.8,"qty":1.54553491},
{"price":45294.7,"qty":0.04454749},{"price":45296.1,"qty":0.35380000},{"price":45297.5,"qty":0.09945542},
{"price":45299.5,"qty":0.18772827}],"checksum":3310070434}]}"""


def without_zeros(frame: bytes) -> bytes:
    """The frame as a writer of JSON numbers may send it."""
    return re.sub(rb"(\.\d*?)0+(?=[,}])", rb"\1", frame).replace(b".,", b",")


def test_the_documented_checksum_matches_with_and_without_trailing_zeros() -> None:
    trimmed = without_zeros(DOCUMENTED)
    assert trimmed.count(b"0}") < DOCUMENTED.count(b"0}")
    for frame in (DOCUMENTED, trimmed):
        assert open_session(BTC, channel="book").feed(frame, NOW) == []
    relist, gap, *_ = open_session(BTC, channel="book").feed(DOCUMENTED.replace(b"0.15445238", b"0.15445239"), NOW)
    assert relist == Relist("kraken: BTC/USD: the checksum of the book fails")
    assert gap == Gap(7, "book", "checksum", NOW)


def test_a_snapshot_without_a_time_of_a_market_that_sends_nothing_is_written_with_the_name_of_its_writer() -> None:
    session = open_session(BTC, channel="book", options=replace(OPTIONS, writer="one"))
    assert session.feed(DOCUMENTED, NOW) == []
    assert books(session.tick(NOW + 3 * SECOND)) == []  # it gets our time now
    (row,) = books(session.tick(NOW + 10 * SECOND))
    assert (row.time, row.writer, row.bid_prices[0]) == (NOW + 4 * SECOND, "one", "45283.5")


def test_a_size_of_zero_removes_the_level() -> None:
    session = open_session(BTC, channel="book")
    session.feed(book_frame("ws_book_snapshot", SNAPSHOT), NOW)
    removed = crc32(f"{ASKS}{BIDS}".encode())
    assert session.feed(book_frame("ws_book_update", removed).replace(b"0.250", b"0.00000000"), NOW) == []
    (row,) = session.tick(1696613756 * SECOND + 2 * SECOND)
    assert row.bid_prices == ("105935.40", "105920.10")


def test_a_crossed_book_is_never_written() -> None:
    session = open_session(BTC, channel="book")
    session.feed(book_frame("ws_book_snapshot", SNAPSHOT), NOW)
    crossed = crc32(f"{ASKS}10595600{25000000}10594420{13600000}{BIDS}".encode())
    frame = book_frame("ws_book_update", crossed, "55.900000Z").replace(b"105944.20", b"105956.00")
    gap, unsubscribe, subscribe = session.feed(frame, NOW)
    assert gap == Gap(7, "book", "crossed", 1696613755440295)
    assert ("unsubscribe" in unsubscribe.text, '"subscribe"' in subscribe.text) == (True, True)
    assert [o for o in session.tick(NOW) if isinstance(o, BookSnapshot)] == []


def books(outputs: Iterable[Output]) -> list[BookSnapshot]:
    return [output for output in outputs if isinstance(output, BookSnapshot)]


@pytest.mark.parametrize(("depth", "subscribed"), [(1, 10), (10, 10), (11, 25), (20, 25), (100, 100), (1000, 1000), (5000, 1000)])
def test_the_smallest_sufficient_depth_is_subscribed(depth: int, subscribed: int) -> None:
    options = replace(OPTIONS, book_depth=depth)
    session = kraken.session(kraken.connections([Subscription(BTC, "book")], options)[0], options)
    assert [json.loads(send.text) for send in session.start(NOW)] == [
        {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": subscribed}, "req_id": 1}
    ]


def test_quotes_with_a_time_are_on_the_grid_of_the_exchange() -> None:
    session = open_session(BTC, channel="quotes", options=replace(OPTIONS, writer="north"))
    frame = nautilus("ws_ticker_snapshot")
    assert list(session.feed(frame, NOW)) == []
    later = frame.replace(b"09:30:59.123456Z", b"09:31:00.000000Z").replace(b"2.5", b"0")
    assert list(session.feed(later, NOW + 1)) == [
        Quote(7, 1671960660 * SECOND, "", "105944.20", "2.5", "105944.30", "3.2", None, NOW)
    ]
    (row,) = session.tick(NOW)
    assert (row.bid_price, row.bid_size, row.time) == (None, None, 1671960661 * SECOND)


def test_subscriptions_of_a_book_that_stays_broken_are_paced() -> None:
    session = open_session(BTC, channel="book")
    crossed = crc32(f"{ASKS}10594430{13600000}{BIDS}".encode())
    frame = book_frame("ws_book_snapshot", crossed).replace(b"105944.20", b"105944.30")
    sends = [len([o for o in session.feed(frame, NOW + i * SECOND) if isinstance(o, Send)]) for i in range(40)]
    assert [i for i, count in enumerate(sends) if count] == [0, 30]
    ticks = [sum(isinstance(o, Send) and "book" in o.text for o in session.tick(NOW + i * SECOND)) for i in (40, 89, 90, 91)]
    assert ticks == [0, 0, 2, 0]


def test_a_malformed_book_message_breaks_that_book() -> None:
    session = open_session(BTC, channel="book")
    session.feed(book_frame("ws_book_snapshot", SNAPSHOT), NOW)
    bad = book_frame("ws_book_update", UPDATE).replace(b"0.250", b"null")
    malformed, gap, *sends = session.feed(bad, NOW)
    assert (malformed.reason, gap) == ("shape", Gap(7, "book", "sequence", 1696613755440295))
    assert len(sends) == 2


def edited(bids: bytes, asks: bytes, levels: str, ms: int) -> bytes:
    """An update after the documented snapshot with the checksum of `levels`: the digits of asks, then of bids."""
    return (
        b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[%b],"asks":[%b],"checksum":%d,'
        b'"timestamp":"2023-10-06T17:35:55.%03dZ"}]}' % (bids, asks, crc32(levels.encode()), ms)
    )


def documented(name: str) -> list[str]:
    row = json.loads(DOCUMENTED, parse_float=str)["data"][0]
    return ["".join(level[key].replace(".", "").lstrip("0") for key in ("price", "qty")) for level in row[name]]


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_a_level_beyond_the_subscribed_depth_is_removed(side: str) -> None:
    """Ten levels are subscribed. An eleventh pushes the worst level out; after its removal nine are left."""
    session = open_session(BTC, channel="book", options=replace(OPTIONS, book_depth=10))
    session.feed(DOCUMENTED, NOW)
    sides = {"asks": documented("asks"), "bids": documented("bids")}
    kept = sides[side][:-1]
    for size, levels, ms in ((b"1.00000000", ["452845100000000", *kept], 100), (b"0.00000000", kept, 200)):
        level = b'{"price":45284.5,"qty":%b}' % size
        text = "".join(({**sides, side: levels})["asks"] + ({**sides, side: levels})["bids"])
        frame = edited(level, b"", text, ms) if side == "bids" else edited(b"", level, text, ms)
        assert session.feed(frame, NOW) == []
    (book,) = session.tick(NOW)
    assert {"asks": len(book.ask_prices), "bids": len(book.bid_prices)} == {"asks": 10, "bids": 10, side: 9}


def test_the_end_of_a_gap_is_never_before_its_beginning() -> None:
    session = open_session(BTC, channel="book")
    session.feed(book_frame("ws_book_snapshot", SNAPSHOT, "55.900000Z"), NOW)
    session.feed(book_frame("ws_book_update", UPDATE + 1, "56.000000Z"), NOW)
    since = 1696613755900000
    assert session.feed(book_frame("ws_book_snapshot", SNAPSHOT), NOW) == [Gap(7, "book", "checksum", since, since)]


def test_a_malformed_quote_discards_the_quote_before_it() -> None:
    session = open_session(BTC, channel="quotes")
    session.feed(nautilus("ws_ticker_snapshot"), NOW)
    (malformed,) = session.feed(nautilus("ws_ticker_snapshot").replace(b"105944.20", b"-1"), NOW)
    assert malformed.reason == "value"
    assert session.tick(NOW) == []


@pytest.mark.parametrize("trimmed", [False, True])
def test_a_precision_that_the_listing_does_not_have_yet_costs_no_book(trimmed: bool) -> None:
    """Kraken lowered the decimals of a pair from 2 to 1, and of its sizes from 9 to 8; the listing is an hour old."""
    listed = replace(BTC, price_step="0.01", size_step="0.000000001")
    session = open_session(listed, channel="book", options=replace(OPTIONS, book_depth=10))
    frame = without_zeros(DOCUMENTED) if trimmed else DOCUMENTED
    asked = session.feed(frame, NOW)
    assert asked == [Relist("kraken: BTC/USD: the checksum of the book fails with the decimals of the listing")]
    levels = ["452846" + "15000000", *documented("asks")[:-1], *documented("bids")]
    change = edited(b"", b'{"price":45284.6,"qty":0.15000000}', "".join(levels), 100)
    assert session.feed(without_zeros(change) if trimmed else change, NOW + SECOND) == []  # the listing is asked for once
    (row,) = books(session.tick(NOW + 10 * SECOND))
    assert (row.ask_prices[0], len(row.ask_prices), len(row.bid_prices)) == ("45284.6", 10, 10)


def test_a_checksum_of_an_empty_book_that_fails_breaks_it() -> None:
    session = open_session(BTC, channel="book")
    empty = b'{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":5}]}'
    assert [type(output) for output in session.feed(empty, NOW)] == [Relist, Gap, Send, Send]


def test_a_checksum_that_keeps_failing_does_not_stop_the_book() -> None:
    """A book whose checksum is wrong for good is stored after half a minute, unverified, and that is told once."""
    session = open_session(BTC, channel="book")
    frame = nautilus("ws_book_snapshot")  # its checksum does not match its levels
    told: list[Malformed | Relist] = []
    for quarter in range(4 * 600):
        now = NOW + quarter * SECOND // 4
        out = [*session.tick(now)]
        if any(isinstance(output, Send) and '"subscribe"' in output.text for output in out) or quarter in (0, 1):
            out += session.feed(frame, now)  # the exchange answers each subscription
        told += [output for output in out if isinstance(output, Malformed | Relist)]
        if (rows := books(out)) or quarter == 4 * 60:
            break
    assert [row.bid_prices[0] for row in rows] == ["105944.20"]
    assert now - NOW < 40 * SECOND
    assert [type(output) for output in told] == [Relist, Relist, Malformed, Relist]
    assert told[-1].message.endswith("the checksum of the book fails on 3 fresh snapshots: it is stored unverified")
    assert [session.feed(frame, now + minute * 60 * SECOND) for minute in range(10)] == [[]] * 10
