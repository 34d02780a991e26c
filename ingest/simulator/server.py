"""The simulated exchange: an HTTP and websocket server on loopback that lives through a market and tells of it.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams. Frames are written to the transport whole, many at
once where there are many: a server library's send per frame would be slower than what is measured against it.
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
BACKLOG_BYTES = 4 << 20  # a burst waits while a client has more than this before it

Said = ParamSpec("Said")


class Simulator:
    """An exchange with one market for each of `specs`, all of them together trading `trades_per_second`, which may be set.

    `clock` gives microseconds; a test that passes a faster one sees its minutes pass faster. With `history_seconds` the markets
    have traded for that long when the server starts, for those who ask by REST.
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
        self._lived_until = self._diffed = self._klined = begun
        self._owed = 0.0  # trades, a fraction of one included
        self._listeners: set[Listener] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.faults = Faults()
        self.oracle = Oracle(self._markets)

    # --- the server -------------------------------------------------------------------------------------------------

    @property
    def ws_url(self) -> str:
        """What takes the place of wss://stream.binance.com:9443."""
        return f"ws://127.0.0.1:{self._port}"

    @property
    def rest_url(self) -> str:
        """What takes the place of https://api.binance.com."""
        return f"http://127.0.0.1:{self._port}"

    def hears(self, stream: str) -> bool:
        """Whether anybody has subscribed to `stream`."""
        return bool(self._hearers(stream))

    async def start(self, port: int = 0) -> None:
        """Serve on loopback, on a free port by default; the markets begin to move."""
        for now in range(self._lived_until, self._now(), 1000):
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
        self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._ping())]

    async def stop(self) -> None:
        """Close every connection and the server. What went wrong inside is raised here."""
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
        self._listeners.add(listener)
        try:
            await self._converse(listener)
        finally:
            self._listeners.discard(listener)
        return socket

    async def _converse(self, listener: Listener) -> None:
        async for message in listener.socket:
            if message.type is not WSMsgType.TEXT:
                continue
            if listener.too_fast(time.monotonic()):
                await listener.socket.close(code=1008, message=b"Too many requests")
                return
            reply = listener.obey(message.data)
            if not self.faults.all_silent:
                listener.write(wire.text_frame(reply))

    # --- what tests do to it ----------------------------------------------------------------------------------------

    async def disconnect(self, *, rudely: bool = False) -> None:
        """Close every websocket, `rudely` without a close frame."""
        for listener in list(self._listeners):
            if rudely:
                listener.abort()
            else:
                await listener.socket.close(code=1001)

    def say(self, payload: bytes) -> None:
        """Send any text to every client: garbage, or an event that is made by hand."""
        for listener in self._listeners:
            listener.write(wire.text_frame(payload))

    def announce_shutdown(self) -> None:
        """The serverShutdown event, some minutes before a real server closes."""
        event = wire.server_shutdown(self._now())
        for listener in self._listeners:
            listener.write(listener.event("!serverShutdown", event))

    def trade(self, symbol: str, count: int = 1) -> None:
        """`count` trades happen at once and are told one by one."""
        now = self._now()
        self._close_bars(now)
        for _ in range(count):
            self._trade(self._markets[symbol], now)

    def prepare(self, symbol: str, count: int, kind: str = "trade") -> list[bytes]:
        """`count` trades happen at once; the chunks of frames by which /stream tells of them. `kind`: trade or aggTrade."""
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
        """Send what `prepare` made to all who hear that stream on /stream, as fast as they take it. A chunk counts as one frame."""
        stream = _stream(symbol, kind)
        for chunk in chunks:
            for listener in self._hearers(stream):
                listener.write(chunk * self.faults.copies(stream))
            await asyncio.sleep(0)
            while self._behind():  # noqa: ASYNC110 - a transport has no event for room
                await asyncio.sleep(0.001)

    # --- the market -------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            self._live_until(self._now())
            await asyncio.sleep(STEP_SECONDS)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._ping_seconds)
            if not self.faults.all_silent:
                for listener in self._listeners:
                    listener.write(wire.PING_FRAME)

    def _trade_until(self, now: int) -> None:
        self._close_bars(now)
        self._owed += self.trades_per_second * max(0, now - self._lived_until) / 1000
        self._lived_until = now
        while self._owed >= 1:
            self._owed -= 1
            self._trade(next(self._turns), now)

    def _live_until(self, now: int) -> None:
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
                self._tell(symbol, "kline_1m", wire.kline, symbol, market.bar, now, closed=False)

    def _trade(self, market: Market, now: int) -> None:
        symbol, deal = market.spec.symbol, market.trade(now)
        for kind, event in wire.EVENTS.items():
            self._tell(symbol, kind, event, symbol, deal)

    def _move(self, market: Market) -> None:
        best = market.best()
        market.move_book()
        if market.best() != best:
            symbol = market.spec.symbol
            self._tell(symbol, "bookTicker", wire.book_ticker, symbol, market.last_update, market.best())

    def _diff(self, market: Market, now: int) -> None:
        diff = market.diff()
        if diff is not None:
            self.oracle.diffs[market.spec.symbol].append((now, diff.last))
            self._tell(market.spec.symbol, "depth@100ms", wire.depth_update, market.spec.symbol, diff, now)

    def _close_bars(self, now: int) -> None:
        for symbol, market in self._markets.items():
            for bar in market.close_bars(now):
                self._tell(symbol, "kline_1m", wire.kline, symbol, bar, now, closed=True)

    def _tell(self, symbol: str, kind: str, event: Callable[Said, bytes], *args: Said.args, **kwargs: Said.kwargs) -> None:
        """One event to those who hear it; it is made only if there are any."""
        stream = _stream(symbol, kind)
        hearers = self._hearers(stream)
        if not hearers:
            return
        events = self.faults.told(stream, event(*args, **kwargs))
        frame = wire.fragments if events and self.faults.parted(stream) else wire.text_frame
        torn = bool(events) and self.faults.torn(stream)
        for listener in hearers:
            frames = b"".join(listener.event(stream, one, frame) for one in events)
            if torn:
                listener.tear(frames)
            else:
                listener.write(frames)

    def _hearers(self, stream: str) -> list[Listener]:
        return [listener for listener in self._listeners if stream in listener.streams]

    def _behind(self) -> bool:
        return any(listener.backlog > BACKLOG_BYTES for listener in self._listeners)

    def _now(self) -> int:
        return self._clock() // 1000


def _stream(symbol: str, kind: str) -> str:
    return f"{symbol.lower()}@{kind}"
