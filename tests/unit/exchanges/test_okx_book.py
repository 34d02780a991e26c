"""The sequence of OKX's book: updates that follow, breaks, and recovery."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from ingest.protocol.session import Gap, Send
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.okx import BTC, NOW, OPTIONS, nautilus, open_session, reasons


def update(previous: int, sequence: int, *, ms: int = 1597026383085, levels: bool = True) -> bytes:
    """The update of nautilus_trader's test data with these numbers. `levels` False leaves both sides empty, as in a keepalive."""
    message = json.loads(nautilus("ws_books_update"))
    row = message["data"][0]
    row.update(prevSeqId=previous, seqId=sequence, ts=str(ms), checksum=0)
    if not levels:
        row.update(bids=[], asks=[])
    return json.dumps(message).encode()


def test_an_update_that_follows_is_applied_and_written_at_its_tick() -> None:
    session = open_session(BTC, channel="book", options=replace(OPTIONS, book_depth=2))
    assert session.feed(nautilus("ws_books_snapshot"), NOW) == []
    changed = update(123456, 123457).replace(b'["8476.98", "415", "0", "13"]', b'["8476.98", "0", "0", "0"]')
    assert session.feed(changed, NOW + 1) == []
    assert session.feed(update(123457, 123458, ms=1597026384000), NOW + 2) == [
        BookSnapshot(
            3, 1597026384 * SECOND, "", ("8476.97", "8475.55"), ("256", "101"), ("8477", "8477.34"), ("7", "85"), 123457, NOW + 1
        )
    ]


def test_the_documented_sequence_continues_over_keepalive_and_reset() -> None:
    """https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel, the example of "Sequence ID"."""
    snapshot = nautilus("ws_books_snapshot").replace(b"123456", b"10")
    session = open_session(BTC, channel="book")
    frames = [snapshot, update(10, 15), update(15, 15, levels=False), update(15, 3), update(3, 5)]
    assert [list(session.feed(frame, NOW)) for frame in frames] == [[], [], [], [], []]
    (book,) = session.tick(NOW)
    assert book.sequence == 5
    empty_reset = [update(5, 2, levels=False), update(2, 6)]
    assert [list(session.feed(frame, NOW)) for frame in empty_reset] == [[], []]


@pytest.mark.parametrize("previous", [11, 9, -1, 4])
def test_a_sequence_break_discards_the_book_and_subscribes_again(previous: int) -> None:
    session = open_session(BTC, channel="book")
    session.feed(nautilus("ws_books_snapshot").replace(b"123456", b"10"), NOW)
    gap, *sends = session.feed(update(previous, 12, ms=1597026390000), NOW)
    assert gap == Gap(3, "book", "sequence", 1597026383085000)
    assert [json.loads(send.text)["op"] for send in sends] == ["unsubscribe", "subscribe"]
    assert session.feed(update(12, 13), NOW) == ()  # it was sent before the new snapshot
    assert [type(output) for output in session.tick(NOW + SECOND)] == []
    again = nautilus("ws_books_snapshot").replace(b"1597026383085", b"1597026391085")
    assert session.feed(again, NOW) == [Gap(3, "book", "sequence", 1597026383085000, 1597026391085000)]
    assert session.feed(update(123456, 123457, ms=1597026391100), NOW) == []


def test_a_crossed_book_is_never_written() -> None:
    session = open_session(BTC, channel="book")
    session.feed(nautilus("ws_books_snapshot"), NOW)
    crossed = update(123456, 123457, ms=1597026383100).replace(b'["8476.97"', b'["8476.99"')
    assert reasons(session.feed(crossed, NOW)) == ["crossed", "Send", "Send"]
    assert session.tick(NOW + 24 * SECOND) == []


def test_repeated_subscriptions_are_paced() -> None:
    session = open_session(BTC, channel="book")
    sends = []
    for second in range(0, 61, 5):
        session.feed(nautilus("ws_books_snapshot"), NOW + second * SECOND)
        outputs = session.feed(update(1, 2), NOW + second * SECOND)
        sends += [second for output in outputs if isinstance(output, Send)]
    assert sends == [0, 0, 30, 30, 60, 60]


def test_a_checksum_of_zero_or_with_a_sequence_is_not_verified() -> None:
    frame = nautilus("ws_books_snapshot")  # it has a seqId; its checksum does not match its levels
    for checksum in (b"-855196043", b"0"):
        session = open_session(BTC, channel="book")
        assert session.feed(frame.replace(b"-855196043", checksum), NOW) == []
        assert [type(output) for output in session.tick(NOW)] == [BookSnapshot]


@pytest.mark.parametrize("bad", [b'["8476.98"]', b'["x", "1", "0", "1"]', b"null"])
def test_a_malformed_book_message_breaks_that_book(bad: bytes) -> None:
    session = open_session(BTC, channel="book")
    session.feed(nautilus("ws_books_snapshot"), NOW)
    frame = update(123456, 123457).replace(b'["8476.98", "415", "0", "13"]', bad)
    assert reasons(session.feed(frame, NOW))[1:] == ["sequence", "Send", "Send"]


def test_a_snapshot_replaces_the_book_and_ends_the_repeated_subscriptions() -> None:
    session = open_session(BTC, channel="book", options=replace(OPTIONS, book_depth=50))
    session.feed(nautilus("ws_books_snapshot"), NOW)
    message = json.loads(nautilus("ws_books_snapshot"))
    message["data"][0].update(bids=[["8000", "1", "0", "1"]], ts="1597026383500")
    assert reasons(session.feed(update(1, 2, ms=1597026383100), NOW)) == ["sequence", "Send", "Send"]
    session.feed(nautilus("ws_books_snapshot"), NOW)
    session.feed(json.dumps(message).encode(), NOW + 1)
    ping, book = session.tick(NOW + 60 * SECOND)
    assert (ping, book.bid_prices, book.received_at) == (Send("ping", keepalive=True), ("8000",), NOW + 1)
