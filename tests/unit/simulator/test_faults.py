"""The faults of the simulated exchange, frame by frame, and its history of books."""

from __future__ import annotations

import aiohttp
import pytest

from ingest.simulator import wire
from ingest.simulator.faults import Faults
from ingest.simulator.market import SPECS, Market
from ingest.simulator.server import Simulator
from tests.support.daemon import until

STREAM = "btcusdt@trade"


def deliver(faults: Faults, *events: bytes) -> list[bytes]:
    return [frame for event in events for frame in faults.deliveries(STREAM, event)]


def test_two_frames_are_reordered_and_later_ones_are_not():
    faults = Faults()
    faults.reorder(STREAM)
    assert faults.pending(STREAM) == 1
    assert deliver(faults, b"1", b"2", b"3") == [b"2", b"1", b"3"]
    assert faults.pending(STREAM) == 0


def test_a_lost_frame_is_not_one_of_the_reordered_ones():
    faults = Faults()
    faults.reorder(STREAM)
    faults.lose(STREAM)
    assert deliver(faults, b"1", b"2", b"3") == [b"3", b"2"]


def test_a_repeated_frame_is_sent_twice():
    faults = Faults()
    faults.repeat(STREAM)
    assert deliver(faults, b"1", b"2") == [b"1", b"1", b"2"]


def test_fragments_are_two_frames_of_one_message():
    # like the example of RFC 6455, 5.7, "a fragmented unmasked text message"
    assert wire.fragments(b"Hell") == b"\x01\x02He" + b"\x80\x02ll"


async def test_a_fragmented_message_is_whole_and_a_torn_frame_ends_the_connection(simulator: Simulator):
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{simulator.ws_url}/ws/{STREAM}") as socket:
        await until(lambda: simulator.has_subscriber(STREAM))
        simulator.faults.fragment(STREAM)
        simulator.trade("BTCUSDT")
        simulator.faults.tear(STREAM)
        simulator.trade("BTCUSDT")
        first, second = await socket.receive(), await socket.receive()
    assert first.json()["t"] == next(simulator.oracle.trades("BTCUSDT")).id
    assert second.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert simulator.oracle.count("BTCUSDT") == 2


def test_books_in_one_pass_equal_single_books():
    market = Market(SPECS[0], seed=1, now=0)
    for now in range(200):
        market.trade(now)
        market.move_book()
    updates = [market.last_update - back for back in (900, 500, 499, 3, 0)]
    assert list(market.books(updates)) == [(update, market.book(update)) for update in updates]
    with pytest.raises(KeyError, match="is not kept"):
        list(market.books([market.last_update + 1]))
