"""A frame of 1 MB of bad rows costs little time, little memory and few records, and the good row in it is stored."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from ingest.errors import Reject
from ingest.marketdata.rest import MAX_BAD, MAX_EVIDENCE
from ingest.protocol.decode import Malformed
from ingest.protocol.session import Output
from ingest.records import Record, Trade
from tests.support.exchanges.documented import EXCHANGES, NOW, listing, open_session, trade

SIZE = 1 << 20
SECONDS = 0.5  # of CPU time
LISTS = ["deribit", "kraken", "okx"]  # their messages are lists of rows


def with_rows(name: str, row: bytes, *, good: bool) -> bytes:
    """A message of a trade, with as many other rows after it as fit into 1 MB; without the trade unless `good`."""
    head, _, tail = trade(name).rpartition(b"]")
    if not good:
        head = head[: head.rindex(b"[") + 1] + row
    return head + (b"," + row) * ((SIZE - len(head) - len(tail)) // (len(row) + 1)) + b"]" + tail


def timed_feed(name: str, frame: bytes) -> Sequence[Output]:
    session = open_session(name, "trades")
    began = time.process_time()
    out = session.feed(frame, NOW)
    assert time.process_time() - began < SECONDS
    return out


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("row", [b"{}", b"1", b'{"symbol":"BTC/USD"}', b'{"symbol":"X"}', b"[[[]]]"])
@pytest.mark.parametrize("name", LISTS)
def test_a_megabyte_of_bad_rows(name: str, row: bytes, good: bool) -> None:
    out = timed_feed(name, with_rows(name, row, good=good))
    bad = [output for output in out if isinstance(output, Malformed)]
    assert 1 <= len(bad) <= MAX_EVIDENCE + 1
    assert sum(len(each.payload) for each in bad) <= 40_000
    rows = [output for output in out if isinstance(output, Record)]
    if name != "kraken" or row.startswith(b"{"):  # Kraken's symbols are in the rows: that many others make a frame unreadable
        assert [type(row) for row in rows] == [Trade] * good


@pytest.mark.parametrize("name", LISTS)
def test_the_evidence_of_a_bad_row_is_that_row_and_the_last_counts_the_others(name: str) -> None:
    good = trade(name)
    start, end = good.rindex(b"[") + 1, good.rindex(b"]")
    row = good[start:end]
    rows = [row.replace(b"buy", b"x%d" % number) for number in range(30)] + [row]
    out = timed_feed(name, good[:start] + b",".join(rows) + good[end:])
    stored, *bad = sorted(out, key=lambda output: isinstance(output, Malformed))
    assert isinstance(stored, Trade)
    assert [each.payload for each in bad if isinstance(each, Malformed)] == rows[:MAX_EVIDENCE]
    assert isinstance(bad[-1], Malformed)
    assert bad[-1].message.endswith("(10 more rows)")
    assert "more rows" not in str(bad[:-1])


def test_the_rest_of_a_frame_of_bad_rows_is_not_read() -> None:
    out = timed_feed("okx", with_rows("okx", b"1", good=True))
    assert isinstance(out[-1], Malformed)
    assert f"({MAX_BAD + 1 - MAX_EVIDENCE} more rows, " in out[-1].message
    assert out[-1].message.endswith(" not read)")


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_megabyte_of_bad_rows_of_a_listing(name: str) -> None:
    began = time.process_time()
    with pytest.raises(Reject, match="unexpected REST response"):
        listing(name, *["{}"] * (SIZE // (10 if name == "kraken" else 3)))
    assert time.process_time() - began < 2 * SECONDS  # with the making of the listing


@pytest.mark.parametrize("level", ["1", "[[[]]]", '["1","-1"]', '["0","1"]', '["1e400","1"]'])
def test_a_megabyte_of_bad_levels(level: str) -> None:
    count = SIZE // (len(level) + 1)
    session = open_session("coinbase", "book")
    frame = (
        f'{{"type":"snapshot","product_id":"BTC-USD","bids":[["1","1"],{",".join([level] * count)}],"asks":[["2","1"]]}}'.encode()
    )
    began = time.process_time()
    out = session.feed(frame, NOW)
    assert time.process_time() - began < 2 * SECONDS
    assert any(isinstance(output, Malformed) for output in out)
    assert len(out) < 5
