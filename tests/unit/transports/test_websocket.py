"""How a websocket connection opens and ends, against a real server on loopback."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web

from ingest.errors import Retry
from ingest.protocol.decode import Malformed
from ingest.records import SECOND
from ingest.transports.staleness import Staleness, Verdict
from ingest.transports.websocket import Ended
from tests.support.retry_after import BOUNDED_WAITS, UNREADABLE_WAITS
from tests.support.websocket_bench import SUBSCRIPTIONS, Bench, count_to, idle, running, until

# --- ends -------------------------------------------------------------------------------------------------------------


async def test_the_exchange_closes(bench: Bench) -> None:
    bench.talk = count_to(1000)
    websocket = bench.connection()
    assert await websocket.run() == Ended("closed", planned=False)
    assert bench.ids() == list(range(1000))
    assert websocket.delivering.is_set()
    assert bench.metric("ingest_messages_received_total") == 1000
    assert bench.metric("ingest_source_connected") == 0
    assert bench.metric("ingest_source_connects_total") == 1
    assert bench.metric("ingest_source_disconnects_total", reason="closed") == 1


async def test_a_broken_connection_is_an_error(bench: Bench) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        assert bench.transport is not None
        bench.transport.abort()

    bench.talk = talk
    assert await bench.connection().run() == Ended("error", planned=False)


async def test_a_frame_that_is_too_large_is_an_error(bench: Bench) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str("7" * 2000)
        await idle(socket)

    bench.talk = talk
    assert await bench.connection(message_bytes=1000).run() == Ended("error", planned=False)
    assert bench.outputs == []


async def test_a_binary_frame_is_malformed(bench: Bench) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"\x1f\x8b")

    bench.talk = talk
    await bench.connection().run()
    assert bench.outputs == [Malformed(b"\x1f\x8b", "unknown", "a binary frame; right would be a text frame")]


async def test_a_connection_without_any_frame_is_silent(bench: Bench) -> None:
    started = time.monotonic()
    assert await bench.connection(silence_seconds=0.6).run() == Ended("silence", planned=False)
    assert 0.6 < time.monotonic() - started < 4.0


async def test_pings_are_answered_and_are_signs_of_life(bench: Bench) -> None:
    pongs = []

    async def talk(socket: web.WebSocketResponse) -> None:
        for number in range(5):
            await socket.ping(str(number).encode())
            message = await socket.receive(timeout=2)
            assert message.type is aiohttp.WSMsgType.PONG
            pongs.append(message.data)
            await asyncio.sleep(0.3)  # in all 1.5 s, more than twice the limit of silence

    bench.talk = talk
    assert await bench.connection(silence_seconds=0.6).run() == Ended("closed", planned=False)
    assert pongs == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_stale_subscription_ends_the_connection_although_another_is_active(bench: Bench) -> None:
    bench.staleness = Staleness(floor=SECOND // 2, first=SECOND)

    async def talk(socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            await socket.send_str("1")
            await asyncio.sleep(0.05)

    bench.talk = talk
    websocket = bench.connection()
    async with running(websocket) as task:
        ended = await asyncio.wait_for(asyncio.shield(task), 10)
    assert ended == Ended("stale", planned=False)
    assert bench.metric("ingest_source_stale_subscriptions") == 0  # the share of this connection is removed
    watch = bench.staleness.watch(SUBSCRIPTIONS[1:], now=0)  # as the next connection begins: its limit has doubled
    assert watch.check([0], 2 * SECOND) == Verdict(1, ())
    assert watch.check([0], 2 * SECOND + 1) == Verdict(1, (0,))


async def test_a_session_may_request_another_connection_at_once(bench: Bench) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str("now")
        await idle(socket)

    bench.talk = talk
    assert await bench.connection().run() == Ended("session", planned=False)


async def test_a_connection_to_be_replaced_is_read_until_it_is_closed(bench: Bench) -> None:
    more = asyncio.Event()

    async def talk(socket: web.WebSocketResponse) -> None:
        for frame in ("1", "planned", "2"):
            await socket.send_str(frame)
        await more.wait()
        for number in range(3, 2000):
            await socket.send_str(str(number))
        await idle(socket)

    bench.talk = talk
    websocket = bench.connection()
    async with running(websocket) as task:
        await asyncio.wait_for(websocket.retiring.wait(), 5)
        await until(lambda: bench.ids() == [1, 2])
        more.set()
        await until(lambda: len(bench.ids()) > 2)
        websocket.close()  # frames that were sent already are still delivered
        assert await asyncio.wait_for(asyncio.shield(task), 10) == Ended("planned", planned=True)
    assert bench.ids() == list(range(1, 2000))


async def test_a_connection_retires_by_age_and_the_exchanges_close_is_then_planned(bench: Bench) -> None:
    goodbye = asyncio.Event()

    async def talk(socket: web.WebSocketResponse) -> None:
        await goodbye.wait()

    bench.talk = talk
    websocket = bench.connection(life_seconds=0.5)
    async with running(websocket) as task:
        await asyncio.wait_for(websocket.retiring.wait(), 5)
        assert not task.done()
        goodbye.set()
        assert await asyncio.wait_for(asyncio.shield(task), 5) == Ended("closed", planned=True)


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 451])
async def test_the_message_for_a_refused_region_names_the_alternative(bench: Bench, status: int) -> None:
    bench.statuses = [status]
    with pytest.raises(Retry, match=rf"HTTP {status}.*use wss://data-stream\.binance\.vision") as caught:
        await bench.connection().run()
    assert (caught.value.code, caught.value.after) == (str(status), 600.0)
    assert "secret" not in str(caught.value)
    assert bench.limiter.paused() == 0


async def test_retry_after_pauses_all_connections_of_the_exchange(bench: Bench) -> None:
    bench.statuses = [429]
    with pytest.raises(Retry) as caught:
        await bench.connection().run()
    assert (caught.value.code, caught.value.after) == ("429", 7.0)
    assert 6.0 < bench.limiter.paused() <= 7.0


@pytest.mark.parametrize(("status", "value", "after"), BOUNDED_WAITS)
async def test_retry_after_is_bounded(bench: Bench, status: int, value: str, after: float) -> None:
    bench.statuses, bench.retry_after = [status], value
    with pytest.raises(Retry) as caught:
        await bench.connection().run()
    assert (caught.value.code, caught.value.after) == (str(status), after)
    assert after - 5 < bench.limiter.paused() <= after


@pytest.mark.parametrize("value", UNREADABLE_WAITS)
async def test_a_malformed_retry_after_is_ignored(bench: Bench, value: str) -> None:
    bench.statuses, bench.retry_after = [429], value
    with pytest.raises(Retry) as caught:
        await bench.connection().run()
    assert (caught.value.code, caught.value.after) == ("429", None)
    assert bench.limiter.paused() == 0


async def test_a_refused_connection_is_a_retry(bench: Bench) -> None:
    bench.url = "ws://127.0.0.1:1"
    with pytest.raises(Retry, match=r"connect ws://127\.0\.0\.1:1/stream: ClientConnectorError"):
        await bench.connection().run()
