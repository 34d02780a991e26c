"""Four attacks on a running daemon, all on loopback: frames, bodies of a provider, half-sent requests, and pipelined requests.

They run in a process of their own, so that the time in which the daemon answers is measured without them. Each repeats until the
process is terminated.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from contextlib import suppress

from ingest.simulator import wire
from ingest.simulator.market import UNIT, Deal, Spec
from ingest.simulator.server import Simulator
from tests.support.hostile_bodies import HOSTILE
from tests.support.providers import serving

EVIL = Spec("EVIL", "USDT", 100 * UNIT, UNIT // 100, 1_000, UNIT)
STREAM = "evilusdt@trade"
FEED = "/rss.xml"  # of the provider
FRAMES = 2_000  # of a flood
FRAME_BYTES = 1 << 20
HALF_SENT = 60  # connections a second
PIPELINED = 50  # requests of a client
CLIENTS = 20
YEAR_9999 = 253_370_764_800_000  # milliseconds
LATELY = 1_790_000_000_000


async def flood(exchange: Simulator) -> None:
    """Unknown frames, frames of a megabyte, and trades with impossible values, as fast as the daemon reads them."""
    deals = (
        Deal(id=7, time=YEAR_9999, price=UNIT, size=UNIT, maker=False),
        Deal(id=8, time=LATELY, price=0, size=UNIT, maker=False),
        Deal(id=9 * 10**17, time=LATELY, price=UNIT, size=UNIT, maker=False),
    )
    while True:
        for _ in range(FRAMES):
            exchange.send_raw(b"{}")
        for deal in deals:
            exchange.send_raw(wire.combined(STREAM, wire.trade(EVIL.symbol, deal)))
        exchange.send_raw(b"[" + b"{}," * (FRAME_BYTES // 3) + b"{}]")
        exchange.send_raw(b'{"stream":"x","data":"' + b"\xff" * FRAME_BYTES + b'"}')
        await asyncio.sleep(1.0)


async def half_send(port: int) -> None:
    """Open connections that never complete a request."""
    held: deque[asyncio.StreamWriter] = deque(maxlen=10 * HALF_SENT)
    while True:
        for _ in range(HALF_SENT):
            if len(held) == held.maxlen:
                held.popleft().close()
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
                held.append(writer)
        await asyncio.sleep(1.0)


async def pipeline(port: int) -> None:
    """Clients that request the metrics many times at once, and read the responses."""
    while True:
        await asyncio.gather(*(_pipeline(port) for _ in range(CLIENTS)))
        await asyncio.sleep(1.0)


async def _pipeline(port: int) -> None:
    with suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * PIPELINED)
            async with asyncio.timeout(1.0):
                while await reader.read(1 << 16):
                    pass
        finally:
            writer.close()


async def attack(port: int) -> None:
    """Print the addresses of the hostile exchange and provider, then attack the daemon on `port`."""
    exchange = Simulator(specs=[EVIL], trades_per_second=5.0)
    await exchange.start()
    bodies = [(200, body, {}) for body in HOSTILE.values()]
    async with serving(**{FEED[1:]: bodies[0]}) as provider:
        provider.once[FEED] = bodies * 1000
        addresses = {"ws_url": exchange.ws_url, "rest_url": exchange.rest_url, "provider": provider.url}
        print(json.dumps(addresses), flush=True)
        await asyncio.gather(flood(exchange), half_send(port), pipeline(port))


if __name__ == "__main__":
    asyncio.run(attack(int(sys.argv[1])))
