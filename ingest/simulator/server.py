"""The simulated exchange: an HTTP and websocket server on loopback, with markets that move in real time.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams. Frames are written to
the transport, many at once: one send per frame through the server library would be slower than the client under test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import ParamSpec

from aiohttp import WSMsgType, web

from ingest.simulator import wire
from ingest.simulator.faults import Faults
from ingest.simulator.listener import Listener
from ingest.simulator.market import SPECS, Market, Spec
from ingest.simulator.oracle import Oracle
from ingest.simulator.rest import Rest

STEP_SECONDS = 0.02
DIFF_MS = 100
KLINE_MS = 2_000
CHUNK = 500  # trades of a burst that are written at once
BACKLOG_BYTES = 4 << 20  # a burst waits while a client has a larger backlog

EventArgs = ParamSpec("EventArgs")


class Simulator:
    """An exchange with one market for each of `specs`. Together they make `trades_per_second`, which may be changed.

    `clock` returns microseconds. With `history_seconds` the markets have traded for that long when the server starts, and REST
    returns these trades and bars.
    """

    def __init__(
        self,
        *,
        specs: Sequence[Spec] = SPECS,
        seed: int = 1,
        trades_per_second: float = 20.0,
        history_seconds: int = 0,
        ping_seconds: float = 20.0,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._clock = clock
        self.trades_per_second = trades_per_second
        self._ping_seconds = ping_seconds
        begun = self._now() - history_seconds * 1000
        self._markets = {spec.symbol: Market(spec, seed, begun) for spec in specs}
        self._turns = cycle(self._markets.values())
        self._moved_until = self._diffed = self._klined = begun
        self._owed = 0.0  # trades that are due, with a fraction
        self.listeners: set[Listener] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.faults = Faults()
        self.oracle = Oracle(self._markets)

    # --- the server -------------------------------------------------------------------------------------------------

    @property
    def ws_url(self) -> str:
        """The address that replaces wss://stream.binance.com:9443."""
        return f"ws://127.0.0.1:{self._port}"

    @property
    def rest_url(self) -> str:
        """The address that replaces https://api.binance.com."""
        return f"http://127.0.0.1:{self._port}"

    def has_subscriber(self, stream: str) -> bool:
        """Whether a client has subscribed to `stream`."""
        return bool(self._subscribers(stream))

    async def start(self, port: int = 0) -> None:
        """Serve on loopback, by default on a free port, and start the markets."""
        for now in range(self._moved_until, self._now(), 1000):
            self._trade_until(now)
        app = web.Application()
        rest = Rest(self._markets, self.faults, self._now)
        app.router.add_get("/api/v3/{name}", rest.handle)
        app.router.add_get("/stream", self._listen)
        app.router.add_get("/ws", self._listen)
        app.router.add_get("/ws/{stream}", self._listen)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._tasks = [asyncio.create_task(self._move_forever()), asyncio.create_task(self._ping())]

    async def stop(self) -> None:
        """Close every connection and the server. Raises the error of a task that failed."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.disconnect()
        if self._runner is not None:
            await self._runner.cleanup()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        if self.faults.handshake is not None:
            return web.Response(status=self.faults.handshake)
        socket = web.WebSocketResponse(compress=False, timeout=1.0)
        await socket.prepare(request)
        assert request.transport is not None
        streams = request.query.get("streams", request.match_info.get("stream", ""))
        names = [name for name in streams.split("/") if name]
        listener = Listener(socket, request.transport, names, enveloped=request.path == "/stream")
        self.listeners.add(listener)
        try:
            await self._converse(listener)
        finally:
            self.listeners.discard(listener)
        return socket

    async def _converse(self, listener: Listener) -> None:
        async for message in listener.socket:
            if message.type is not WSMsgType.TEXT:
                continue
            if listener.too_fast(time.monotonic()):
                await listener.socket.close(code=1008, message=b"Too many requests")
                return
            reply = listener.execute(message.data, self.faults.refused_symbol)
            if not self.faults.all_silent:
                listener.write(wire.text_frame(reply))

    # --- for tests ----------------------------------------------------------------------------------------

    async def disconnect(self, *, abruptly: bool = False) -> None:
        """Close every websocket; `abruptly` without a close frame."""
        for listener in list(self.listeners):
            if abruptly:
                listener.abort()
            else:
                await listener.socket.close(code=1001)

    def send_raw(self, payload: bytes) -> None:
        """Send a text frame to every client."""
        for listener in self.listeners:
            listener.write(wire.text_frame(payload))

    def announce_shutdown(self) -> None:
        """Send the serverShutdown event, which a real server sends some minutes before it closes."""
        event = wire.server_shutdown(self._now())
        for listener in self.listeners:
            listener.write(listener.event("!serverShutdown", event))

    def announce(self, kind: str, text: str) -> None:
        """Send a control message that the documentation does not have, such as a notice of maintenance."""
        self.send_raw(wire.notice(kind, text, self._now()))

    async def flood(self, frames: int, payload: bytes = b"{}") -> None:
        """Send so many text frames to every client as fast as it reads."""
        for _ in range(0, frames, CHUNK):
            for listener in self.listeners:
                listener.write(wire.text_frame(payload) * CHUNK)
            await asyncio.sleep(0)
            while self._behind():  # noqa: ASYNC110 - a transport has no event for room
                await asyncio.sleep(0.001)

    def trade(self, symbol: str, count: int = 1) -> None:
        """Make `count` trades now; each is sent as an event of its own."""
        now = self._now()
        self._close_bars(now)
        for _ in range(count):
            self._trade(self._markets[symbol], now)

    def prepare(self, symbol: str, count: int, kind: str = "trade") -> list[bytes]:
        """Make `count` trades now without sending them. Returns their frames for /stream in chunks. `kind` is trade or aggTrade."""
        stream = _stream(symbol, kind)
        chunks = []
        for start in range(0, count, CHUNK):
            now = self._now()
            self._close_bars(now)
            deals = [self._markets[symbol].trade(now) for _ in range(min(CHUNK, count - start))]
            events = [wire.EVENTS[kind](symbol, deal) for deal in deals]
            chunks.append(b"".join(wire.text_frame(wire.combined(stream, event)) for event in events))
        return chunks

    async def burst(self, symbol: str, chunks: Sequence[bytes], kind: str = "trade") -> None:
        """Send the chunks of `prepare` to the subscribers on /stream, as fast as they read. Faults count a chunk as one frame."""
        stream = _stream(symbol, kind)
        for chunk in chunks:
            for listener in self._subscribers(stream):
                listener.write(chunk * self.faults.copies(stream))
            await asyncio.sleep(0)
            while self._behind():  # noqa: ASYNC110 - a transport has no event for room
                await asyncio.sleep(0.001)

    # --- the market -------------------------------------------------------------------------------------------------

    async def _move_forever(self) -> None:
        while True:
            self._move_until(self._now())
            await asyncio.sleep(STEP_SECONDS)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._ping_seconds)
            if not self.faults.all_silent:
                for listener in self.listeners:
                    listener.write(wire.PING_FRAME)

    def _trade_until(self, now: int) -> None:
        self._close_bars(now)
        self._owed += self.trades_per_second * max(0, now - self._moved_until) / 1000
        self._moved_until = now
        while self._owed >= 1:
            self._owed -= 1
            self._trade(next(self._turns), now)

    def _move_until(self, now: int) -> None:
        self._trade_until(now)
        for market in self._markets.values():
            self._move(market)
        if now - self._diffed >= DIFF_MS:
            self._diffed = now
            for market in self._markets.values():
                self._diff(market, now)
        if now - self._klined >= KLINE_MS:
            self._klined = now
            for symbol, market in self._markets.items():
                self._publish(symbol, "kline_1m", wire.kline, symbol, market.bar, now, closed=False)

    def _trade(self, market: Market, now: int) -> None:
        symbol, deal = market.spec.symbol, market.trade(now)
        for kind, event in wire.EVENTS.items():
            self._publish(symbol, kind, event, symbol, deal)

    def _move(self, market: Market) -> None:
        best = market.best()
        market.move_book()
        if market.best() != best:
            symbol = market.spec.symbol
            self._publish(symbol, "bookTicker", wire.book_ticker, symbol, market.last_update, market.best())

    def _diff(self, market: Market, now: int) -> None:
        diff = market.diff()
        if diff is not None:
            self.oracle.diffs[market.spec.symbol].append((now, diff.last))
            self._publish(market.spec.symbol, "depth@100ms", wire.depth_update, market.spec.symbol, diff, now)

    def _close_bars(self, now: int) -> None:
        for symbol, market in self._markets.items():
            for bar in market.close_bars(now):
                self._publish(symbol, "kline_1m", wire.kline, symbol, bar, now, closed=True)

    def _publish(
        self, symbol: str, kind: str, event: Callable[EventArgs, bytes], *args: EventArgs.args, **kwargs: EventArgs.kwargs
    ) -> None:
        """Send one event to its subscribers; without subscribers it is not encoded."""
        stream = _stream(symbol, kind)
        subscribers = self._subscribers(stream)
        if not subscribers:
            return
        made = event(*args, **kwargs)
        if kind.startswith("depth") and self.faults.has_odd_level(stream):
            made = wire.with_odd_level(made)
        events = self.faults.deliveries(stream, made)
        if events and self.faults.is_far(stream):
            far = wire.with_far_time(made)
            events = [far] if kind.startswith("depth") else [far, *events]
        frame = wire.fragments if events and self.faults.is_fragmented(stream) else wire.text_frame
        torn = bool(events) and self.faults.is_torn(stream)
        for listener in subscribers:
            frames = b"".join(listener.event(stream, item, frame) for item in events)
            if torn:
                listener.tear(frames)
            else:
                listener.write(frames)

    def _subscribers(self, stream: str) -> list[Listener]:
        return [listener for listener in self.listeners if stream in listener.streams]

    def _behind(self) -> bool:
        return any(listener.backlog > BACKLOG_BYTES for listener in self.listeners)

    def _now(self) -> int:
        return self._clock() // 1000


def _stream(symbol: str, kind: str) -> str:
    return f"{symbol.lower()}@{kind}"
