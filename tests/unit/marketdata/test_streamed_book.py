"""A book whose snapshot is streamed: malformed levels, a checksum that keeps failing, books that break together.

The messages are those of OKX and Deribit; the rules of one exchange only are in its own tests.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.protocol.decode import Malformed
from ingest.protocol.session import Gap, Output, Relist, Send
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges import deribit as deribit_session
from tests.support.exchanges import okx as okx_session
from tests.support.exchanges.okx import NOW, nautilus
from tests.support.recordings.files import received

FAR = NOW + 365 * 86_400 * SECOND


def books(outputs: Any) -> list[BookSnapshot]:
    return [output for output in outputs if isinstance(output, BookSnapshot)]


def sends(outputs: Any) -> list[Send]:
    return [output for output in outputs if isinstance(output, Send) and output.text != "ping"]


def okx_snapshot(**fields: Any) -> bytes:
    """The frame of nautilus_trader with these fields of its only row changed."""
    frame = json.loads(nautilus("ws_books_snapshot"))
    frame["data"][0].update(fields)
    return json.dumps(frame).encode()


def test_a_malformed_level_of_a_snapshot_is_left_out() -> None:
    session = okx_session.open_session(okx_session.BTC, channel="book")
    row = json.loads(nautilus("ws_books_snapshot"))["data"][0]
    odd = [*row["bids"][:3], ["0.00000002", "-3", "0", "1"], *row["bids"][3:]]
    out = session.feed(okx_snapshot(bids=odd), NOW)
    assert [type(output) for output in out] == [Malformed]
    (book,) = books(session.tick(FAR))
    whole = okx_session.open_session(okx_session.BTC, channel="book")
    whole.feed(nautilus("ws_books_snapshot"), NOW)
    assert [book] == books(whole.tick(FAR))


def test_a_side_with_only_malformed_levels_makes_no_snapshot() -> None:
    session = okx_session.open_session(okx_session.BTC, channel="book")
    out = session.feed(okx_snapshot(bids=[["x", "1"]]), NOW)
    assert [type(output) for output in out] == [Malformed, Gap, Send, Send]  # subscribed again
    assert books(session.tick(FAR)) == []


@pytest.mark.parametrize(
    "odd", [["new", 1.0, -3], ["new", None, 1], ["new", 1.0], ["grow", 1.0, 1.0], 5, ["new", 1e99, 1.0], ["new", "1", 1], "abc"]
)
def test_a_malformed_level_of_json_numbers_is_left_out(odd: Any) -> None:
    session = deribit_session.open_session(deribit_session.BTC, channel="book")
    frame = json.loads(deribit_session.nautilus("ws_book_snapshot"))
    frame["params"]["data"]["bids"].append(odd)
    frame["params"]["data"]["asks"].append(["new", 5e4, 1e-7])
    out = session.feed(json.dumps(frame).encode(), NOW)
    assert [type(output) for output in out] == [Malformed]
    (book,) = books(session.tick(FAR))
    assert ("50000.0", "0.0000001") in zip(book.ask_prices, book.ask_sizes, strict=True)


def test_a_checksum_that_fails_on_fresh_snapshots_is_no_longer_verified_and_that_is_reported_once() -> None:
    session = okx_session.open_session(okx_session.BTC, channel="book")
    frame = okx_snapshot(seqId=None, prevSeqId=None, checksum=5)
    yields = [session.feed(frame, NOW + hour * 3600 * SECOND) for hour in range(4)]
    kinds = [[type(output) for output in out if not isinstance(output, Send)] for out in yields]
    assert kinds == [[Relist, Gap], [Relist], [Malformed, Relist, Gap], []]  # the gap closes when the book is stored unverified
    bad, told, _ = yields[2]
    text = "okx: BTC-USDT: the checksum of the book fails on 3 fresh snapshots: it is stored unverified"
    assert (bad, told) == (Malformed(b"5", "checksum", text), Relist(text))
    assert books(session.tick(FAR))


def test_a_checksum_that_matches_once_stays_verified() -> None:
    recorded = next(line.text for line in received("OKX.ws.1.0") if '"action":"snapshot"' in line.text)
    matching = json.loads(recorded)
    failing = matching | {"data": [matching["data"][0] | {"checksum": 5}]}
    session = okx_session.open_session(replace(okx_session.BTC, symbol=matching["arg"]["instId"]), channel="book")
    for frame in (failing, failing, matching, failing, failing):
        out = session.feed(json.dumps(frame).encode(), NOW)
        assert not [output for output in out if isinstance(output, Malformed)]
    assert books(session.tick(FAR)) == []


def test_books_that_break_together_are_subscribed_again_together() -> None:
    markets = [replace(okx_session.BTC, symbol=f"X{index}-USDT", id=index) for index in range(3)]
    session = okx_session.open_session(*markets, channel="book")
    out: list[Output] = []
    for market in markets:
        out += session.feed(nautilus("ws_books_snapshot").replace(b"BTC-USDT", market.symbol.encode()), NOW)
    assert out == []
    broken = nautilus("ws_books_update").replace(b"123456", b"1")
    for market in markets:  # after its first break each is subscribed again at once
        out += session.feed(broken.replace(b"BTC-USDT", market.symbol.encode()), NOW)
    assert len(sends(out)) == 6
    again = sends(session.tick(NOW + 30 * SECOND))
    assert [(json.loads(market.text)["op"], len(json.loads(market.text)["args"])) for market in again] == [
        ("unsubscribe", 3),
        ("subscribe", 3),
    ]
    assert sends(session.tick(NOW + 89 * SECOND)) == []
    assert len(sends(session.tick(NOW + 90 * SECOND))) == 2


def test_a_malformed_change_breaks_the_book() -> None:
    session = okx_session.open_session(okx_session.BTC, channel="book")
    session.feed(nautilus("ws_books_snapshot"), NOW)
    frame = json.loads(nautilus("ws_books_update"))
    frame["data"][0]["asks"][0][1] = "-1"
    assert [type(output) for output in session.feed(json.dumps(frame).encode(), NOW)] == [Malformed, Gap, Send, Send]
    assert books(session.tick(FAR)) == []
