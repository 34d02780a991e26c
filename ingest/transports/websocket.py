"""One websocket connection: opening it, feeding its frames to the session, handling the session's outputs, detecting its end.

https://docs.aiohttp.org/en/stable/client_reference.html#clientwebsocketresponse. Pings are answered here: aiohttp
would hide them, and a quiet connection with pings is alive. The loop in `_read` is hot; work that is not needed for every frame is
done on the tick. Frames that are there already are received without suspending, so the loop lets the other tasks run by itself.
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
from ingest.transports.client import (
    CONNECTION_ERRORS,
    REGION_REFUSED,
    Socket,
    connection_error,
    hang_up,
    open_socket,
    redacted_url,
    send_close,
)
from ingest.transports.connection_health import ConnectionHealth
from ingest.transports.http import Http
from ingest.transports.rate_limiter import RateLimiter
from ingest.transports.staleness import Staleness, Verdict

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
TURN = 5_000  # microseconds for which frames are read before other tasks run: /livez and other connections wait no longer
MANY = 500  # outputs after which other tasks run; delivering one takes about 5 microseconds
SEND_SECONDS = 30.0  # a message that waits longer for the limit of messages makes a successor due
DRAIN_SECONDS = 2.0  # to receive frames that the exchange sent before it received the close frame

Reason = Literal["closed", "error", "silence", "stale", "session", "planned"]
Sink = Callable[[Output], Awaitable[None] | None]
Handler = Callable[[Any], Awaitable[None] | None]


class Ended(Struct, frozen=True):
    """Why a connection ended. `planned`: a successor was due or the owner closed it, so it is no failure."""

    reason: Reason
    planned: bool


def wall_clock() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class WebSocketConnection:
    """One connection, from its opening to its end. `run` is called once.

    The session's outputs go to `sink`, in order; while an awaitable of the sink is pending, nothing is read. `connected` is set
    after the handshake, `delivering` after the first record, `retiring` when a successor is due; reading continues until `close`.
    `last_alive_at` is the last time in microseconds at which the connection was known to be alive and everything received was
    delivered, 0 before the first.
    """

    def __init__(
        self,
        connection: Connection,
        session: Session,
        *,
        limits: ExchangeLimits,
        client: aiohttp.ClientSession,
        http: Http,
        limiter: RateLimiter,
        sink: Sink,
        metrics: Metrics,
        source: str,
        staleness: Staleness,
        locate: Callable[[], Flow[str]] | None = None,
        clock: Callable[[], int] = wall_clock,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.connected = asyncio.Event()
        self.delivering = asyncio.Event()
        self.retiring = asyncio.Event()
        self.last_alive_at = 0
        self._connection = connection
        self._session = session
        self._limits = limits
        self._client = client
        self._http = http
        self._limiter = limiter
        self._sink = sink
        self._metrics = metrics
        self._source = source
        self._staleness = staleness
        self._locate = locate  # where the URL to open must be requested
        self._clock = clock
        self._rand = rand
        self._what = f"{source} {redacted_url(connection.url)}"
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._lock = asyncio.Lock()  # held while outputs wait for room, so that no later output overtakes them
        self._tasks: set[asyncio.Task[None]] = set()
        self._sends: asyncio.Queue[tuple[str, float]] = asyncio.Queue()  # (frame, time of the loop at which it is late)
        self._keepalives: asyncio.Queue[str] = asyncio.Queue()
        self._handlers: dict[type, Handler] = {Send: self._send, Request: self._request, Reconnect: self._reconnect}
        self._handlers.update(dict.fromkeys(BY_RECORD, self._first_record))
        self._frames = 0
        self._frames_counted = 0
        self._controls = 0  # messages that are not text frames
        self._messages_seen = 0
        self._tick_due = 0
        self._stale = 0
        self._failed_requests = 0  # since the last response

    async def run(self) -> Ended:
        """Open the connection and run to its end. Raises Retry if it does not open, else an ExceptionGroup of errors."""
        socket = await self._open()
        self.connected.set()
        connected = self._metrics.source_connected.labels(self._source)
        connected.inc()
        self._metrics.source_connects.labels(self._source).inc()
        ended = Ended("error", planned=False)
        try:
            ended = await self._run_tasks(socket)
        finally:
            await hang_up(socket, announced=ended.reason == "planned")
            self._count()
            self._show_stale(0)
            connected.dec()
            self._metrics.source_disconnects.labels(self._source, ended.reason).inc()
        log.info("%s: ended, %s (close code %s)", self._what, ended.reason, socket.close_code)
        return ended

    def close(self) -> None:
        """End the connection; frames that the exchange sent before it received the close frame are still delivered."""
        self._end("planned")

    # --- from the opening to the end --------------------------------------------------------------------------------

    async def _open(self) -> Socket:
        await self._limiter.enter()
        try:
            return await open_socket(self._client, await self._url(), self._limits)
        except Retry as error:
            if error.after is not None and error.code not in REGION_REFUSED:
                self._limiter.pause(error.after)
            raise

    async def _url(self) -> str:
        if self._locate is None:
            return self._connection.url
        try:
            return await self._http.run(self._locate())
        except Reject as error:  # a Retry, because nothing can be opened without the URL
            raise Retry(str(error), code=error.code) from error

    async def _run_tasks(self, socket: Socket) -> Ended:
        async with asyncio.TaskGroup() as group:
            self._group = group
            reader = self._start(self._read(socket))
            self._start(self._tick_forever())
            self._start(self._send_forever(socket))
            self._start(self._send_keepalives(socket))
            ended = await self._ended
            if ended.reason == "planned":
                await self._drain(socket, reader)
            async with self._lock:  # rows that wait for room are delivered first
                for task in self._tasks:
                    task.cancel()
        return ended

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _drain(self, socket: Socket, reader: asyncio.Task[None]) -> None:
        """Send a close frame and read until the exchange's close frame: aiohttp's own close discards the frames in between."""
        if await send_close(socket):
            await asyncio.wait([reader], timeout=DRAIN_SECONDS)

    def _end(self, reason: Reason) -> None:
        if not self._ended.done():
            planned = reason == "planned" or (reason == "closed" and self.retiring.is_set())
            self._ended.set_result(Ended(reason, planned))

    # --- in ---------------------------------------------------------------------------------------------------------

    async def _read(self, socket: Socket) -> None:
        receive, feed, clock, lock = socket.receive, self._session.feed, self._clock, self._lock
        handler_of, sink = self._handlers.get, self._sink
        text = WSMsgType.TEXT
        turn_began = 0
        async with lock:
            await self._deliver(iter(self._session.start(clock())))
        while True:
            message = await receive()
            received_at = clock()
            if not 0 <= received_at - turn_began < TURN:  # also after the clock was set back
                await asyncio.sleep(0)
                turn_began = clock()
            if message.type is not text:
                if await self._control(socket, message.type, message.data):
                    return
                continue
            self._frames += 1
            if lock.locked():
                async with lock:
                    pass
            received = feed(message.data, received_at)
            outputs = iter(received)
            if len(received) > MANY:
                async with lock:
                    await self._deliver(outputs)
            for output in outputs:
                wait = handler_of(type(output), sink)(output)
                if wait is not None:  # a queue is full: the socket is not read meanwhile
                    async with lock:
                        await wait
                        await self._deliver(outputs)
            if received_at >= self._tick_due:
                await self._tick()

    async def _deliver(self, outputs: Iterator[Output]) -> None:
        """Deliver outputs in order, waiting while a queue is full. The caller holds the lock."""
        for number, output in enumerate(outputs, 1):
            wait = self._handlers.get(type(output), self._sink)(output)
            if wait is not None:
                await wait
            if not number % MANY:
                await asyncio.sleep(0)

    async def _control(self, socket: Socket, kind: WSMsgType, data: Any) -> bool:
        """Handle a message that is not a text frame. True at the end of the connection."""
        self._controls += 1
        if kind is WSMsgType.PING:
            return not await self._write(socket.pong(data))
        if kind is WSMsgType.PONG:
            return False
        if kind is WSMsgType.BINARY:
            async with self._lock:
                await self._deliver(iter([Malformed(data, "unknown", "a binary frame; right would be a text frame")]))
            return False
        if kind is WSMsgType.CLOSE:
            self._end("closed")
        else:
            log.warning("%s: connection lost: %s", self._what, data or socket.exception() or "no close frame")
            self._end("error")
        return True

    # --- out --------------------------------------------------------------------------------------------------------

    def _first_record(self, record: Output) -> Awaitable[None] | None:
        for kind in BY_RECORD:
            del self._handlers[kind]
        wait = self._sink(record)
        self.delivering.set()
        return wait

    def _send(self, send: Send) -> None:
        if send.keepalive:
            self._keepalives.put_nowait(send.text)
        else:
            self._sends.put_nowait((send.text, asyncio.get_running_loop().time() + SEND_SECONDS))

    def _request(self, request: Request) -> None:
        self._start(self._make_request(request))

    def _reconnect(self, reconnect: Reconnect) -> None:
        if reconnect.planned:
            self._retire(reconnect.reason)
            return
        log.info("%s: a reconnect is due: %s", self._what, reconnect.reason)
        self._end("session")

    def _retire(self, reason: str) -> None:
        if not self.retiring.is_set():
            log.info("%s: a successor is due: %s", self._what, reason)
        self.retiring.set()

    async def _send_forever(self, socket: Socket) -> None:
        """Send within the exchange's limit. Where that is used up, a successor is due: the limit counts for each connection."""
        pace = RateLimiter(self._limits.sends)
        while True:
            text, late_at = await self._sends.get()
            try:
                async with asyncio.timeout_at(late_at):
                    await pace.enter()
            except TimeoutError:
                limit = self._limits.sends
                self._retire(f"messages wait for the limit of {limit.amount} in {limit.seconds:g} s")
                await pace.enter()
            if not await self._write(socket.send_str(text)):
                return

    async def _send_keepalives(self, socket: Socket) -> None:
        while await self._write(socket.send_str(await self._keepalives.get())):
            pass

    async def _write(self, writing: Awaitable[None]) -> bool:
        """Await a write. False if the connection is lost."""
        try:
            await writing
        except CONNECTION_ERRORS as error:
            log.warning("%s", connection_error(f"send {self._what}", error))
            self._end("error")
            return False
        return True

    async def _make_request(self, request: Request) -> None:
        """Make one HTTP request of the session. It is not repeated here, because the session decides when to.

        The session hears of the response or of the failure, unless it ends first. Of failures in a row only the first is logged:
        during a ban of an hour 20 books have more than a thousand.
        """
        try:
            response = await self._http.get(request)
        except (Retry, Reject) as error:
            if first := not self._failed_requests:
                log.warning("%s: %s", self._source, error)
            self._failed_requests += 1
            self._metrics.counters.errors[self._source, "http", type(error).__name__] += 1
            refused = [Refused(str(error))] if first and isinstance(error, Reject) else []
            async with self._lock:
                await self._deliver(iter([*refused, *self._session.failed(request, self._clock())]))
            return
        if self._failed_requests:
            log.info("%s: requests are answered again, after %d failures", self._source, self._failed_requests)
            self._failed_requests = 0
        async with self._lock:
            await self._deliver(iter(self._session.answer(request, response, self._clock())))

    # --- the clock --------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        now = self._clock()
        self._tick_due = now + int(TICK_SECONDS * SECOND)
        async with self._lock:
            await self._deliver(iter(self._session.tick(now)))
            if (messages := self._frames + self._controls) != self._messages_seen:
                self.last_alive_at, self._messages_seen = now, messages
        self._count()

    async def _tick_forever(self) -> None:
        loop = asyncio.get_running_loop()
        watch = self._staleness.watch(self._connection.subscriptions, self._clock())
        health = ConnectionHealth(self._limits, watch, loop.time(), self._rand())
        while True:
            await asyncio.sleep(TICK_SECONDS)
            before = loop.time()
            await self._tick()
            now = loop.time()
            if now - before > TICK_SECONDS:  # a full queue kept the socket from being read
                health.unread(now)
            if health.silent(self._frames + self._controls, now):
                self._end("silence")
            if health.old(now):
                self._retire("its age")
            verdict = health.check(self._session.last_message_at, now, self._clock(), self._session.refused)
            if verdict is not None and not self.retiring.is_set():
                self._judge(verdict)

    def _judge(self, verdict: Verdict) -> None:
        self._show_stale(verdict.stale)
        if verdict.reconnect:
            silent = [self._connection.subscriptions[index] for index in verdict.reconnect]
            log.warning("%s: stale: %s", self._what, ", ".join(f"{each.channel} {each.instrument.symbol}" for each in silent))
            self._end("stale")

    def _show_stale(self, stale: int) -> None:
        """Add the change to the gauge, which is the sum over the source's connections."""
        self._metrics.source_stale_subscriptions.labels(self._source).inc(stale - self._stale)
        self._stale = stale

    def _count(self) -> None:
        if frames := self._frames - self._frames_counted:
            self._frames_counted = self._frames
            self._metrics.messages_received.labels(self._source).inc(frames)
            self._metrics.source_last_message.labels(self._source).set(self._clock() / SECOND)
