"""An exchange on loopback that sends a recording to a daemon whose clock is set to the time of the recording.

A daemon writes a book at each tick, by events or, in a silence, by the clock. With today's clock it would take the recorded market
for a silent one. So the replay sets the daemon's clock (`clock/sitecustomize.py`) to the time of each frame before it sends the
frame, then sends a ping and waits for the pong (RFC 6455, 5.5.2). `received_at` is then exactly the recorder's, and the expected
rows do not depend on the speed of the machine.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from aiohttp import WSMsgType, web

from ingest.records import SECOND
from tests.support.recordings.files import Line

SECONDS = 20.0  # the deadline of every wait for the daemon
SILENCE = 5 * SECOND  # added to the clock after the last frame, so that every state that waits for its tick is written


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, path: Path, now: int) -> None:
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._micros = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
        self._micros[0] = now
        folder = Path(__file__).parent / "clock"
        self.environment = {"PYTHONPATH": str(folder), "REPLAY_CLOCK": str(path)}

    @property
    def now(self) -> int:
        return self._micros[0]

    def set(self, now: int) -> None:
        """Set the clock, but never back: a recorder stamps the frames of two connections only roughly in their order."""
        self._micros[0] = max(now, self.now)


class Dialect(NamedTuple):
    """The part of an exchange's protocol that the replay's server needs."""

    requests: int  # number of messages with which the daemon subscribes to everything
    reply: Callable[[dict, int], Sequence[str]]  # (a message of the daemon, the clock) -> the frames that answer it
    greeting: Sequence[str] = ()  # frames that are sent when a client connects


class RecordedAnswer:
    """A REST answer among the recorded lines. It is requested once, and sent when the lines before it have been sent."""

    def __init__(self, line: Line) -> None:
        self.body = line.frame
        self.requested = asyncio.Event()
        self.released = asyncio.Event()


class Replay:
    """The server. It sends `lines` in order. It sends the `answers`, by path, at once and for every request."""

    def __init__(self, lines: Sequence[Line], clock: Clock, dialect: Dialect, answers: Mapping[str, bytes]) -> None:
        self.url = ""
        self.clock = clock
        self.requests: list[str] = []  # path and query of every REST request
        self._lines = lines
        self._dialect = dialect
        self._answers = answers
        self._recorded = {_path(line.url): RecordedAnswer(line) for line in lines if line.kind == "answer"}
        self._socket = web.WebSocketResponse(autoping=False, compress=False)
        self._subscribed = asyncio.Event()
        self._pong = asyncio.Event()

    async def play(self) -> None:
        """Wait until the daemon has subscribed, send all lines, and advance the clock by SILENCE."""
        async with asyncio.timeout(SECONDS):
            await self._subscribed.wait()
        for line in self._lines:
            async with asyncio.timeout(SECONDS):
                await self._send(line)
        self.clock.set(self.clock.now + SILENCE)

    async def _send(self, line: Line) -> None:
        if line.kind == "answer":
            answer = self._recorded[_path(line.url)]
            await answer.requested.wait()
            self.clock.set(line.time)
            answer.released.set()
        else:
            self.clock.set(line.time)
            await self._socket.send_str(line.text)
            self._pong.clear()
            await self._socket.ping()
            await self._pong.wait()

    # --- the server ---------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Replay]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            await self._socket.prepare(request)
            for frame in self._dialect.greeting:
                await self._socket.send_str(frame)
            await self._read_socket()
            return self._socket
        self.requests.append(request.path_qs)
        if request.path in self._answers:
            return web.Response(body=self._answers[request.path])
        if answer := self._recorded.get(request.path_qs):
            answer.requested.set()
            await answer.released.wait()
            return web.Response(body=answer.body)
        return web.Response(status=404)

    async def _read_socket(self) -> None:
        requests = 0
        async for message in self._socket:
            if message.type is WSMsgType.PONG:
                self._pong.set()
            elif message.type is WSMsgType.TEXT:
                for frame in self._dialect.reply(msgspec.json.decode(message.data), self.clock.now):
                    await self._socket.send_str(frame)
                requests += 1
                if requests == self._dialect.requests:
                    self._subscribed.set()


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"
