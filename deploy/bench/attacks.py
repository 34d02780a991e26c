"""Four attacks on a running daemon, all on loopback: frames, bodies of providers, half-sent requests, and pipelined requests.

Each repeats until it is cancelled.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress

from ingest.simulator import wire
from ingest.simulator.market import UNIT, Deal
from ingest.simulator.server import Simulator

FRAMES = 2_000  # of a flood
BODY_BYTES = 1 << 20
HALF_SENT = 60  # connections a second
PIPELINED = 50  # requests of a client
CLIENTS = 20
YEAR_9999 = 253_370_764_800_000  # milliseconds


def hostile_bodies() -> list[bytes]:
    """Bodies of a megabyte that are slow or large for a naive parser, as a feed of news may have them."""
    rng = random.Random(1)
    return [
        b'<rss version="2.0"><channel>' + b"<item>" * (BODY_BYTES // 6),
        b"<!DOCTYPE rss [<!ENTITY a '" + b"a" * 1000 + b"'>]><rss><channel><title>" + b"&a;" * (BODY_BYTES // 3) + b"</title>",
        b"<rss><channel><item><title>" + b"<b " * (BODY_BYTES // 3),
        b"<rss><channel>" + b"<item><title>" + b"&" * BODY_BYTES + b"</title></item></channel></rss>",
        rng.randbytes(BODY_BYTES),
        b"[" * BODY_BYTES,
    ]


async def flood(exchange: Simulator, symbol: str) -> None:
    """Unknown frames, frames of a megabyte, and trades with impossible values, as fast as the daemon reads them."""
    stream = f"{symbol.lower()}@trade"
    deals = (
        Deal(id=7, time=YEAR_9999, price=UNIT, size=UNIT, maker=False),
        Deal(id=8, time=1_790_000_000_000, price=0, size=UNIT, maker=False),
        Deal(id=9 * 10**17, time=1_790_000_000_000, price=UNIT, size=UNIT, maker=False),
    )
    while True:
        for _ in range(FRAMES):
            exchange.send_raw(b"{}")
        for deal in deals:
            exchange.send_raw(wire.combined(stream, wire.trade(symbol, deal)))
        exchange.send_raw(b"[" + b"{}," * (BODY_BYTES // 3) + b"{}]")
        exchange.send_raw(b'{"stream":"x","data":"' + b"\xff" * BODY_BYTES + b'"}')
        await asyncio.sleep(1.0)


async def half_send(host: str, port: int) -> None:
    """Open connections that never complete a request."""
    held: deque[asyncio.StreamWriter] = deque(maxlen=10 * HALF_SENT)
    while True:
        for _ in range(HALF_SENT):
            if len(held) == held.maxlen:
                held.popleft().close()
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
                held.append(writer)
        await asyncio.sleep(1.0)


async def pipeline(host: str, port: int) -> None:
    """Clients that request the metrics many times at once, and read the responses."""
    while True:
        await asyncio.gather(*(_pipeline(host, port) for _ in range(CLIENTS)))
        await asyncio.sleep(1.0)


async def _pipeline(host: str, port: int) -> None:
    with suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * PIPELINED)
            async with asyncio.timeout(1.0):
                while await reader.read(1 << 16):
                    pass
        finally:
            writer.close()


def attacks(exchange: Simulator, symbol: str, host: str, port: int) -> list[Awaitable[None]]:
    """The attacks that connect to the daemon, or to which it is connected; hostile bodies are responses of a provider."""
    return [flood(exchange, symbol), half_send(host, port), pipeline(host, port)]
