"""What the simulated exchange sends beside its good rows: an odd level, the year 9999, a notice, a flood; and what it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from ingest.simulator.faults import Faults
from ingest.simulator.server import Simulator
from tests.support.daemon import until

FAR = 253402300799999
TRADES, DEPTH, BARS = "btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@kline_1m"


async def subscribe(socket: aiohttp.ClientWebSocketResponse, *streams: str) -> dict[str, Any]:
    await socket.send_json({"method": "SUBSCRIBE", "params": list(streams), "id": 1})
    reply: dict[str, Any] = await socket.receive_json(timeout=10)
    return reply


async def test_a_refused_symbol_refuses_its_message_until_it_is_accepted(simulator: Simulator) -> None:
    refusal = {"error": {"code": 2, "msg": "Invalid request: unknown symbol"}, "id": 1}
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{simulator.ws_url}/ws") as socket:
        simulator.faults.refuse_symbol("ETHUSDT")
        assert await subscribe(socket, TRADES, "ethusdt@trade") == refusal
        assert not simulator.has_subscriber(TRADES)
        assert (await subscribe(socket, TRADES))["result"] is None
        assert simulator.faults.accept_symbol("ETHUSDT") == 1
        assert simulator.has_subscriber(TRADES)
        socket_reply = await subscribe(socket, "ethusdt@trade")
    assert socket_reply == {"result": None, "id": 1}


def test_an_odd_level_is_added_once_for_each_frame() -> None:
    faults = Faults()
    faults.add_odd_level(DEPTH, 2)
    assert faults.pending(DEPTH) == 2
    assert [faults.has_odd_level(DEPTH) for _ in range(3)] == [True, True, False]
    assert faults.pending(DEPTH) == 0


async def test_a_depth_update_and_a_snapshot_with_an_odd_level(simulator: Simulator) -> None:
    simulator.faults.add_odd_level(DEPTH)
    simulator.faults.add_odd_level("/api/v3/depth")
    async with aiohttp.ClientSession() as client:
        async with client.ws_connect(f"{simulator.ws_url}/ws/{DEPTH}") as socket:
            bad, good = [await socket.receive_json(timeout=10) for _ in range(2)]
        url = f"{simulator.rest_url}/api/v3/depth?symbol=BTCUSDT&limit=100"
        async with client.get(url) as first, client.get(url) as second:
            snapshots = [await first.json(), await second.json()]
    assert [[["-3", ""] in each[side] for side in "ba"] for each in (bad, good)] == [[True, True], [False, False]]
    assert good["U"] == bad["u"] + 1, "only the level is odd"
    assert [[["-3", ""] in each[side] for side in ("bids", "asks")] for each in snapshots] == [[True, True], [False, False]]


async def test_a_copy_of_the_year_9999_comes_before_a_trade(simulator: Simulator) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{simulator.ws_url}/ws/{TRADES}") as socket:
        await until(lambda: simulator.has_subscriber(TRADES))
        simulator.faults.send_far(TRADES)
        simulator.trade("BTCUSDT", 2)
        far, first, second = [await socket.receive_json(timeout=10) for _ in range(3)]
    assert far == first | {"E": FAR, "T": FAR}
    assert [trade.id for trade in simulator.oracle.trades("BTCUSDT")] == [first["t"], second["t"]]


async def test_a_depth_update_of_the_year_9999_replaces_the_good_one(simulator: Simulator) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{simulator.ws_url}/ws/{DEPTH}") as socket:
        simulator.faults.send_far(DEPTH)
        far, good = [await socket.receive_json(timeout=10) for _ in range(2)]
    assert (far["E"], good["E"] < FAR, good["U"]) == (FAR, True, far["u"] + 1)


async def test_a_notice_and_a_flood_reach_every_client(simulator: Simulator) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{simulator.ws_url}/ws/{BARS}") as socket:
        await until(lambda: simulator.has_subscriber(BARS))
        simulator.announce("systemNotice", "Scheduled maintenance at 12:00")
        flood = asyncio.create_task(simulator.flood(2000))
        messages = [await socket.receive_json(timeout=10) for _ in range(2001)]
        await flood
    notice = next(message for message in messages if message.get("e") == "systemNotice")
    assert (notice["msg"], notice.keys()) == ("Scheduled maintenance at 12:00", {"e", "E", "msg"})
    assert messages.count({}) >= 1999
