"""One life of one websocket: open, feed the session what comes, do what it asks for, notice that it died, end.

https://docs.aiohttp.org/en/stable/client_reference.html#clientwebsocketresponse. aiohttp can answer pings by itself but then hides
them, and a quiet connection that is pinged is alive; so they are answered here. The loop in `_read` runs once per frame: what is
not needed for every frame happens on the tick.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Literal

import aiohttp
from aiohttp import WSMsgType
from msgspec import Struct

from ingest.errors import Reject, Retry
from ingest.metrics import Metrics
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import ExchangeLimits
from ingest.protocol.http import Flow, Request
from ingest.protocol.session import Connection, Output, Reconnect, Refused, Send, Session
from ingest.records import SECOND
from ingest.tables import BY_RECORD
from ingest.transports.backoff import Backoff
from ingest.transports.client import LOST, REFUSED_HERE, Socket, lost, open_socket, shown
from ingest.transports.connection_health import ConnectionHealth
from ingest.transports.http import Http
from ingest.transports.rate_limiter import RateLimiter
from ingest.transports.staleness import Staleness, Verdict

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
DRAIN_SECONDS = 2.0  # for what the exchange sent before it saw our close

Reason = Literal["closed", "error", "silence", "stale", "session", "planned"]
Sink = Callable[[Output], Awaitable[None] | None]
Act = Callable[[Any], Awaitable[None] | None]


class Ended(Struct, frozen=True):
    """Why a life ended. `planned`: a successor was due or the owner closed it, so that nothing is wrong."""

    reason: Reason
    planned: bool


def wall_clock() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class WebSocketConnection:
    """One connection, from its opening to its end. `run` is called once.

    What the session yields goes to `sink`, in order; while a sink's awaitable is pending, nothing is read. `connected` is set when
    the handshake is done, `delivering` with the first record, `retiring` when a successor should be opened: reading goes on until
    `close`. `sign` is when the connection last gave a sign of life and all of it was delivered, in microseconds, 0 for never.
    """

    def __init__(
        self,
        connection: Connection,
        session: Session,
        *,
        manners: ExchangeLimits,
        client: aiohttp.ClientSession,
        http: Http,
        gate: RateLimiter,
        sink: Sink,
        metrics: Metrics,
        source: str,
        freshness: Staleness,
        locate: Callable[[], Flow[str]] | None = None,
        clock: Callable[[], int] = wall_clock,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.connected = asyncio.Event()
        self.delivering = asyncio.Event()
        self.retiring = asyncio.Event()
        self.sign = 0
        self._connection = connection
        self._session = session
        self._manners = manners
        self._client = client
        self._http = http
        self._gate = gate
        self._sink = sink
        self._metrics = metrics
        self._source = source
        self._freshness = freshness
        self._locate = locate  # where the connection's own URL is not the one to open
        self._clock = clock
        self._rand = rand
        self._what = f"{source} {shown(connection.url)}"
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._turn = asyncio.Lock()  # held while outputs wait for room, so that later ones do not overtake them
        self._tasks: set[asyncio.Task[None]] = set()
        self._sends: asyncio.Queue[str] = asyncio.Queue()
        self._acts: dict[type, Act] = {Send: self._send, Request: self._request, Reconnect: self._reconnect}
        self._acts.update(dict.fromkeys(BY_RECORD, self._first_record))
        self._frames = 0
        self._frames_counted = 0
        self._signs = 0  # of life that are not text frames
        self._signs_seen = 0
        self._tick_due = 0
        self._stale = 0

    async def run(self) -> Ended:
        """Open, live, end. Raises Retry when it cannot be opened; what session or sink raise comes as an ExceptionGroup."""
        socket = await self._open()
        self.connected.set()
        connected = self._metrics.source_connected.labels(self._source)
        connected.inc()
        self._metrics.source_connects.labels(self._source).inc()
        ended = Ended("error", planned=False)
        try:
            ended = await self._live(socket)
        finally:
            await socket.close()
            self._count()
            self._show_stale(0)
            connected.dec()
            self._metrics.source_disconnects.labels(self._source, ended.reason).inc()
        log.info("%s: ended, %s (close code %s)", self._what, ended.reason, socket.close_code)
        return ended

    def close(self) -> None:
        """End this life; what the exchange sent before it saw our close is still delivered."""
        self._end("planned")

    # --- the course of a life ---------------------------------------------------------------------------------------

    async def _open(self) -> Socket:
        await self._gate.enter()
        try:
            return await open_socket(self._client, await self._url(), self._manners)
        except Retry as error:
            if error.after is not None and error.code not in REFUSED_HERE:
                self._gate.pause(error.after)
            raise

    async def _url(self) -> str:
        if self._locate is None:
            return self._connection.url
        try:
            return await self._http.run(self._locate())
        except Reject as error:  # what is refused now may be mended there: nothing can be opened meanwhile
            raise Retry(str(error), code=error.code) from error

    async def _live(self, socket: Socket) -> Ended:
        async with asyncio.TaskGroup() as group:
            self._group = group
            reader = self._hold(self._read(socket))
            self._hold(self._tick_forever())
            self._hold(self._send_forever(socket))
            ended = await self._ended
            if ended.reason == "planned":
                await self._drain(socket, reader)
            async with self._turn:  # no row is lost that waits for room
                for task in self._tasks:
                    task.cancel()
        return ended

    def _hold(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _drain(self, socket: Socket, reader: asyncio.Task[None]) -> None:
        """Say goodbye and read on until the exchange does: aiohttp's own close would throw away what is still on the way."""
        try:
            await socket.send_frame(aiohttp.WSCloseCode.OK.to_bytes(2, "big"), WSMsgType.CLOSE)
        except LOST:
            return
        await asyncio.wait([reader], timeout=DRAIN_SECONDS)

    def _end(self, reason: Reason) -> None:
        if not self._ended.done():
            planned = reason == "planned" or (reason == "closed" and self.retiring.is_set())
            self._ended.set_result(Ended(reason, planned))

    # --- in ---------------------------------------------------------------------------------------------------------

    async def _read(self, socket: Socket) -> None:
        receive, feed, clock, turn = socket.receive, self._session.feed, self._clock, self._turn
        act_of, sink = self._acts.get, self._sink
        text = WSMsgType.TEXT
        async with turn:
            await self._deliver(iter(self._session.start(clock())))
        while True:
            message = await receive()
            if message.type is not text:
                if await self._control(socket, message.type, message.data):
                    return
                continue
            received_at = clock()
            self._frames += 1
            if turn.locked():
                async with turn:
                    pass
            outputs = iter(feed(message.data, received_at))
            for output in outputs:
                wait = act_of(type(output), sink)(output)
                if wait is not None:  # no room: the socket is not read meanwhile
                    async with turn:
                        await wait
                        await self._deliver(outputs)
            if received_at >= self._tick_due:
                await self._tick()

    async def _deliver(self, outputs: Iterator[Output]) -> None:
        """The slow way, for everything but frames that find room. The caller holds the turn."""
        for output in outputs:
            wait = self._acts.get(type(output), self._sink)(output)
            if wait is not None:
                await wait

    async def _control(self, socket: Socket, kind: WSMsgType, data: Any) -> bool:
        """Anything but text. True at the end of the connection."""
        self._signs += 1
        if kind is WSMsgType.PING:
            return not await self._write(socket.pong(data))
        if kind is WSMsgType.PONG:
            return False
        if kind is WSMsgType.BINARY:
            async with self._turn:
                await self._deliver(iter([Malformed(data, "unknown", "a binary frame where text was expected")]))
            return False
        if kind is WSMsgType.CLOSE:
            self._end("closed")
        else:
            log.warning("%s: the connection broke: %s", self._what, data or socket.exception() or "no close frame")
            self._end("error")
        return True

    # --- out --------------------------------------------------------------------------------------------------------

    def _first_record(self, record: Output) -> Awaitable[None] | None:
        for kind in BY_RECORD:
            del self._acts[kind]
        wait = self._sink(record)
        self.delivering.set()
        return wait

    def _send(self, send: Send) -> None:
        self._sends.put_nowait(send.text)

    def _request(self, request: Request) -> None:
        self._hold(self._ask(request))

    def _reconnect(self, reconnect: Reconnect) -> None:
        log.info("%s: to be replaced: %s", self._what, reconnect.reason)
        if reconnect.planned:
            self.retiring.set()
        else:
            self._end("session")

    async def _send_forever(self, socket: Socket) -> None:
        pace = RateLimiter(self._manners.sends)
        while True:
            text = await self._sends.get()
            await pace.enter()
            if not await self._write(socket.send_str(text)):
                return

    async def _write(self, writing: Awaitable[None]) -> bool:
        """False when the connection is gone."""
        try:
            await writing
        except LOST as error:
            log.warning("%s", lost(f"send {self._what}", error))
            self._end("error")
            return False
        return True

    async def _ask(self, request: Request) -> None:
        """One HTTP question of the session, repeated while the life lasts and there is hope."""
        backoff = Backoff(self._rand)
        while True:
            try:
                response = await self._http.get(request)
                break
            except Retry as error:
                log.warning("%s: %s", self._source, error)
                self._metrics.counters.errors["http", "Retry"] += 1
                await asyncio.sleep(max(error.after or 0.0, backoff.next()))
            except Reject as error:
                self._metrics.counters.errors["http", "Reject"] += 1
                async with self._turn:
                    await self._deliver(iter([Refused(str(error))]))
                return
        async with self._turn:
            await self._deliver(iter(self._session.answer(request, response, self._clock())))

    # --- the clock --------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        now = self._clock()
        self._tick_due = now + int(TICK_SECONDS * SECOND)
        async with self._turn:
            await self._deliver(iter(self._session.tick(now)))
            if (signs := self._frames + self._signs) != self._signs_seen:
                self.sign, self._signs_seen = now, signs
        self._count()

    async def _tick_forever(self) -> None:
        loop = asyncio.get_running_loop()
        watch = self._freshness.watch(self._connection.subscriptions, self._clock())
        vitals = ConnectionHealth(self._manners, watch, loop.time(), self._rand())
        while True:
            await asyncio.sleep(TICK_SECONDS)
            before = loop.time()
            await self._tick()
            now = loop.time()
            if now - before > TICK_SECONDS:  # somebody waited for room, and the socket was not read
                vitals.unread(now)
            if vitals.silent(self._frames + self._signs, now):
                self._end("silence")
            if vitals.old(now):
                self.retiring.set()
            verdict = vitals.look(self._session.last_message_at, now, self._clock())
            if verdict is not None and not self.retiring.is_set():
                self._heed(verdict)

    def _heed(self, verdict: Verdict) -> None:
        self._show_stale(verdict.stale)
        if verdict.reconnect:
            silent = [self._connection.subscriptions[index] for index in verdict.reconnect]
            log.warning("%s: silent: %s", self._what, ", ".join(f"{one.channel} {one.instrument.symbol}" for one in silent))
            self._end("stale")

    def _show_stale(self, stale: int) -> None:
        """The gauge is the sum over the source's connections."""
        self._metrics.source_stale_subscriptions.labels(self._source).inc(stale - self._stale)
        self._stale = stale

    def _count(self) -> None:
        if frames := self._frames - self._frames_counted:
            self._frames_counted = self._frames
            self._metrics.messages_received.labels(self._source).inc(frames)
            self._metrics.source_last_message.labels(self._source).set(self._clock() / SECOND)
