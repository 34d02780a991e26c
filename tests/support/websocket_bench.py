"""A websocket server on loopback whose side of the conversation a test writes, and connections to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from ingest.metrics import Metrics
from ingest.protocol.exchange import ExchangeLimits, Rate
from ingest.protocol.http import Flow, Request, Response
from ingest.protocol.session import Connection, Output, Reconnect, Send, Subscription
from ingest.records import Instrument, Trade
from ingest.transports.client import open_client
from ingest.transports.http import Http
from ingest.transports.rate_limiter import RateLimiter
from ingest.transports.staleness import Staleness
from ingest.transports.websocket import Ended, WebSocketConnection

INSTRUMENT = Instrument("test", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", id=1)
OTHER = Instrument("test", "ETHUSDT", "ETH/USDT", "ETH", "USDT", "spot", "trading", id=2)
SUBSCRIPTIONS = (Subscription(INSTRUMENT, "trades"), Subscription(OTHER, "trades"))

Talk = Callable[[web.WebSocketResponse], Awaitable[None]]


class NumberSession:
    """A session of a simple protocol: a frame is a trade id, or a word of `feed`, which yields a request or a reconnect."""

    def __init__(self) -> None:
        self.last_message_at = [0, 0]
        self.refused: dict[int, str] = {}
        self.ticks = 0
        self.on_start: list[Output] = []
        self.on_tick: list[Output] = []  # yielded once, on the next tick

    def start(self, now: int) -> Iterable[Output]:
        return self.on_start

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        words: dict[bytes, Output] = {
            b"planned": Reconnect("maintenance", planned=True),
            b"now": Reconnect("the book is broken"),
            b"ask": Request(f"{self.http_url}/answer", tag="t"),
        }
        if frame in words:
            return (words[frame],)
        self.last_message_at[0] = received_at
        return (trade(int(frame), received_at),)

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        return (Send(f"{request.tag}:{response.body.decode()}"),)

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        return (Send(f"{request.tag}: failed"),)

    def tick(self, now: int) -> Sequence[Output]:
        self.ticks += 1
        on_tick, self.on_tick = self.on_tick, []
        return on_tick

    http_url = ""


def trade(number: int, received_at: int) -> Trade:
    return Trade(1, number, number, "1.5", "0.25", "buy", received_at)


class Bench:
    """A server whose side of the conversation is `talk`, and connections to it. `outputs` are those of the session."""

    def __init__(self) -> None:
        self.talk: Talk = idle
        self.last_message_at: list[str] = []
        self.statuses: list[int] = []
        self.retry_after = "7"
        self.redirect = ""
        self.outputs: list[Output] = []
        self.metrics = Metrics()
        self.session = NumberSession()
        self.staleness = Staleness()
        self.limiter = RateLimiter(Rate(100, 1.0))
        self.locate: Callable[[], Flow[str]] | None = None
        self.url = ""
        self.transport: asyncio.Transport | None = None
        self.client: aiohttp.ClientSession
        self.http: Http

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self.statuses:
            return web.Response(status=self.statuses.pop(0), headers={"Retry-After": self.retry_after})
        if self.redirect:
            return web.Response(status=302, headers={"Location": self.redirect})
        socket = web.WebSocketResponse(autoping=False, timeout=1.0)
        await socket.prepare(request)
        self.transport = request.transport
        await self.talk(socket)
        return socket

    async def answer(self, request: web.Request) -> web.Response:
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        return web.Response(text="42")

    def connection(self, sink: Callable[[Output], Awaitable[None] | None] | None = None, **limits: Any) -> WebSocketConnection:
        self.session.http_url = self.url.replace("ws:", "http:")
        return WebSocketConnection(
            Connection(f"{self.url}/stream?token=secret", SUBSCRIPTIONS),
            self.session,
            limits=polite(**limits),
            client=self.client,
            http=self.http,
            limiter=self.limiter,
            sink=sink or self.outputs.append,
            metrics=self.metrics,
            source="test",
            staleness=self.staleness,
            locate=self.locate,
            rand=lambda: 0.0,
        )

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"source": "test"} | labels)

    def ids(self) -> list[int]:
        return [output.trade_id for output in self.outputs if isinstance(output, Trade)]


def polite(**changes: Any) -> ExchangeLimits:
    usual: dict[str, Any] = {
        "ws_url": "",
        "rest_url": "",
        "alternative": "wss://data-stream.binance.vision",
        "sends": Rate(100, 1.0),
        "connects": Rate(100, 1.0),
        "weight": Rate(100, 1.0),
        "subscriptions_per_connection": 10,
        "silence_seconds": 30.0,
    }
    return ExchangeLimits(**(usual | changes))


async def idle(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass


def count_to(number: int) -> Talk:
    async def talk(socket: web.WebSocketResponse) -> None:
        for trade_id in range(number):
            await socket.send_str(str(trade_id))

    return talk


@asynccontextmanager
async def running(connection: WebSocketConnection) -> AsyncIterator[asyncio.Task[Ended]]:
    """Run the connection as a task, which is cancelled at the end of the block."""
    task = asyncio.create_task(connection.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll until `holds` returns true; the test fails after the deadline."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - the condition is whatever the test waits for
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving() -> AsyncIterator[Bench]:
    bench = Bench()
    app = web.Application()
    app.router.add_get("/stream", bench.serve)
    app.router.add_get("/answer", bench.answer)
    app.router.add_post("/where", bench.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    bench.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    async with open_client() as client:
        bench.client, bench.http = client, Http(client, rate=Rate(100, 1.0), rand=lambda: 0.0)
        yield bench
    await runner.cleanup()
