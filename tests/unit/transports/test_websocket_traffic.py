"""Messages and requests that a websocket connection sends, and its behaviour under load."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable

import pytest
from aiohttp import web

from ingest.protocol.exchange import Rate
from ingest.protocol.session import Output, Refused, Send
from ingest.transports import websocket as websockets
from ingest.transports.websocket import Ended
from tests.support.websocket_bench import Bench, Talk, idle, running, trade, until

# --- sending ----------------------------------------------------------------------------------------------------------


async def test_sends_are_paced_and_keep_their_order(bench: Bench) -> None:
    times = []

    async def talk(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            times.append(time.monotonic())
            bench.last_message_at.append(message.data)
            if len(times) == 5:
                return

    bench.talk = talk
    bench.session.on_start = [Send(str(number)) for number in range(5)]
    assert await bench.connection(sends=Rate(2, 0.5)).run() == Ended("closed", planned=False)
    assert bench.last_message_at == ["0", "1", "2", "3", "4"]
    assert times[1] - times[0] < 0.4
    assert times[2] - times[0] > 0.45
    assert times[4] - times[0] > 0.95


async def test_a_keepalive_does_not_wait_for_the_limit_of_messages(bench: Bench) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            bench.last_message_at.append(message.data)

    bench.talk = talk
    bench.session.on_start = [Send(str(number)) for number in range(10)]
    websocket = bench.connection(sends=Rate(5, 3600.0))
    async with running(websocket):
        await until(lambda: len(bench.last_message_at) == 5)
        bench.session.on_tick = [Send("ping", keepalive=True)]
        await until(lambda: len(bench.last_message_at) == 6)
    assert bench.last_message_at == ["0", "1", "2", "3", "4", "ping"]


@pytest.mark.parametrize("limit", [Rate(480, 3600.0), Rate(1, 0.2)])
async def test_a_message_that_waits_too_long_for_the_limit_makes_a_successor_due(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: Rate
) -> None:
    """OKX allows 480 messages an hour for a connection; the next one would wait for most of that hour."""
    monkeypatch.setattr(websockets, "SEND_SECONDS", 0.5)
    caplog.set_level("INFO")
    bench.session.on_start = [Send(str(number)) for number in range(limit.amount)]
    websocket = bench.connection(sends=limit)
    async with running(websocket) as task:
        await asyncio.sleep(0.6)
        assert not websocket.retiring.is_set()
        bench.session.on_tick = [Send("subscribe")] * 4  # with the second limit each waits 0.2 s, and the last one too long
        await until(websocket.retiring.is_set)
        assert not task.done()
    assert f"a successor is due: messages wait for the limit of {limit.amount} in {limit.seconds:g} s" in caplog.text


async def test_a_failed_request_is_not_repeated_by_the_transport(bench: Bench) -> None:
    """The session repeats it: here it does so at the next frame."""

    async def talk(socket: web.WebSocketResponse) -> None:
        bench.statuses = [502]
        for _ in range(2):
            await socket.send_str("ask")
            bench.last_message_at.append((await socket.receive(timeout=5)).data)

    bench.talk = talk
    assert await bench.connection().run() == Ended("closed", planned=False)
    assert bench.last_message_at == ["t: failed", "t:42"]


async def test_a_refused_request_is_reported(bench: Bench) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        bench.statuses = [404]
        await socket.send_str("ask")
        await idle(socket)

    bench.talk = talk
    websocket = bench.connection()
    async with running(websocket):
        await until(lambda: bool(bench.outputs))
    assert bench.outputs == [Refused(f"GET {bench.session.http_url}/answer: HTTP 404: ")]


async def test_of_requests_that_fail_in_a_row_the_first_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """During a ban every book asks once a minute; the session hears of each failure."""
    caplog.set_level("INFO")

    async def talk(socket: web.WebSocketResponse) -> None:
        bench.statuses = [404, 404, 502, 404]
        for _ in range(5):
            await socket.send_str("ask")
            bench.last_message_at.append((await socket.receive(timeout=5)).data)

    bench.talk = talk
    await bench.connection().run()
    assert bench.last_message_at == ["t: failed"] * 4 + ["t:42"]
    assert caplog.text.count("HTTP 404") == 1
    assert "HTTP 502" not in caplog.text
    assert "requests are answered again, after 4 failures" in caplog.text
    assert len([output for output in bench.outputs if isinstance(output, Refused)]) == 1


# --- under load -------------------------------------------------------------------------------------------------------


async def test_without_room_the_socket_is_not_read_and_nothing_is_reordered(bench: Bench) -> None:
    room = asyncio.Event()
    sent = 0

    async def talk(socket: web.WebSocketResponse) -> None:
        nonlocal sent
        for number in range(3000):
            await socket.send_str(str(number).rjust(10_000))
            sent = number + 1

    def sink(output: Output) -> Awaitable[None] | None:
        bench.outputs.append(output)
        return None if room.is_set() else wait_for_room()

    async def wait_for_room() -> None:
        await room.wait()

    bench.talk = talk
    websocket = bench.connection(sink, message_bytes=1 << 20)
    async with running(websocket) as task:
        await until(lambda: bool(bench.outputs))
        ticks = bench.session.ticks
        before = -1
        while before != sent:  # until the buffers of the server are full, too
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 3000
        assert bench.ids() == [0]
        assert bench.session.ticks == ticks  # rows of a tick must not overtake the row that waits
        room.set()
        assert await asyncio.wait_for(asyncio.shield(task), 20) == Ended("closed", planned=False)
    assert bench.ids() == list(range(3000))


async def test_while_a_ticks_row_waits_for_room_no_frame_overtakes_it(bench: Bench) -> None:
    room, waiting = asyncio.Event(), asyncio.Event()

    async def talk(socket: web.WebSocketResponse) -> None:
        await waiting.wait()
        for number in range(3):
            await socket.send_str(str(number))

    def sink(output: Output) -> Awaitable[None] | None:
        bench.outputs.append(output)
        return None if room.is_set() else wait_for_room()

    async def wait_for_room() -> None:
        waiting.set()
        await room.wait()

    bench.talk = talk
    bench.session.on_tick = [trade(999, 1)]
    websocket = bench.connection(sink)
    async with running(websocket) as task:
        await asyncio.wait_for(waiting.wait(), 5)
        await asyncio.sleep(0.3)  # long enough for the frames to arrive; they must not be delivered
        assert bench.ids() == [999]
        room.set()
        assert await asyncio.wait_for(asyncio.shield(task), 5) == Ended("closed", planned=False)
    assert bench.ids() == [999, 0, 1, 2]


async def test_a_flood_does_not_starve_the_tick(bench: Bench) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            for _ in range(100):
                await socket.send_str("1")
            await asyncio.sleep(0)  # a send that does not block gives the reader no turn

    bench.talk = talk
    websocket = bench.connection(lambda output: None)
    async with running(websocket):
        await until(websocket.delivering.is_set)
        before, since = bench.session.ticks, time.monotonic()
        await until(lambda: bench.session.ticks >= before + 8)
        assert time.monotonic() - since < 8 * 0.25 + 0.5
    assert (bench.metric("ingest_messages_received_total") or 0) > 10_000


def flood(bench: Bench) -> Talk:
    """Sends trades as fast as they are taken, and answers no close frame."""

    async def talk(socket: web.WebSocketResponse) -> None:
        transport = bench.transport
        assert transport is not None
        frames = b"\x81\x011" * 50_000  # text frames of one byte
        while not transport.is_closing():
            if transport.get_write_buffer_size() < 4 << 20:
                transport.write(frames)
            await asyncio.sleep(0.001)

    return talk


async def test_a_flood_lets_other_tasks_run(bench: Bench) -> None:
    """Measured in frames that are read between two turns of another task: seconds depend on the machine."""
    read, turns = [0], [0]

    def sink(output: Output) -> None:
        time.sleep(0.0001)  # at most 50 frames in 5 ms
        read[0] += 1

    async def watch() -> None:
        before = read[0]
        while True:
            await asyncio.sleep(0)
            turns.append(read[0] - before)
            before = read[0]

    bench.talk = flood(bench)
    websocket = bench.connection(sink)
    watching = asyncio.create_task(watch())
    async with running(websocket):
        await until(lambda: read[0] > 5_000)
        watching.cancel()
    assert 0 < max(turns) < 100


async def test_the_many_outputs_of_one_frame_let_other_tasks_run_and_keep_their_order(bench: Bench) -> None:
    turns: list[int] = []

    async def watch() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(len(bench.outputs))

    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str("1")

    many = [trade(number, 1) for number in range(20_000)]
    bench.session.feed = lambda frame, received_at: many  # type: ignore[method-assign]
    bench.session.on_tick = [trade(99_999, 1)]
    bench.talk = talk
    watching = asyncio.create_task(watch())
    await bench.connection().run()
    watching.cancel()
    steps = [after - before for before, after in itertools.pairwise(turns)]
    assert max(steps) <= 501
    assert [number for number in bench.ids() if number != 99_999] == list(range(20_000))


async def test_a_flood_does_not_keep_a_connection_from_closing(bench: Bench) -> None:
    bench.talk = flood(bench)
    websocket = bench.connection(lambda output: None)
    async with running(websocket) as task:
        await until(websocket.delivering.is_set)
        websocket.close()
        assert await asyncio.wait_for(asyncio.shield(task), 5) == Ended("planned", planned=True)
