"""Faults of the exchange: it refuses requests, stops sending, and loses, repeats, reorders and cuts off frames.

Each fault returns whether it happened. Events that are not sent still count: the daemon must find and load them. The faults of
`bad_elements.py` are about what is sent beside good rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from chaos.scene import STREAMS, SYMBOLS, TRADE_KIND, Scene
from chaos.waiting import came

DEPTH = "/api/v3/depth"
HISTORIES = ("/api/v3/aggTrades", "/api/v3/klines")
BUSY = [stream for stream in STREAMS if not stream.endswith("kline_1m")]  # streams with several frames a second
HAPPEN_SECONDS = 15.0


def refusing(status: int, retry_after: int | None) -> Callable[[Scene, Random], Awaitable[bool]]:
    """Refuse the next requests for books and history with `status`; disconnect, so that every book is requested again."""

    async def refuse(scene: Scene, chance: Random) -> bool:
        faults, headers = scene.simulator.faults, {} if retry_after is None else {"Retry-After": str(retry_after)}
        times = chance.randint(1, 3)
        for path in (DEPTH, *HISTORIES):
            faults.refuse(path, status, headers, times)
        await scene.simulator.disconnect(abruptly=True)
        happened = await came(lambda: faults.refusals_left(DEPTH) < times, HAPPEN_SECONDS)
        await came(lambda: not faults.refusals_left(DEPTH), HAPPEN_SECONDS)
        for path in (DEPTH, *HISTORIES):
            faults.refuse(path, status, times=0)
        return happened

    return refuse


async def silence(scene: Scene, chance: Random) -> bool:
    """Silence one symbol, or the whole exchange with its pings, for 1 to 3.5 seconds."""
    streams = [] if chance.random() < 0.5 else [stream for stream in STREAMS if stream.startswith(chance.choice(SYMBOLS).lower())]
    scene.simulator.faults.silence(*streams)
    await asyncio.sleep(chance.uniform(1, 3.5))
    scene.simulator.faults.end_silence()
    return True


async def partial_frames(scene: Scene, chance: Random) -> bool:
    """Send messages in fragments; then end a connection in the middle of a frame."""
    faults = scene.simulator.faults
    for stream in BUSY:
        faults.fragment(stream, chance.randint(5, 50))
    await asyncio.sleep(chance.uniform(0.2, 1))
    torn = chance.choice([stream for stream in BUSY if stream.endswith(TRADE_KIND)])
    faults.tear(torn)
    return await came(lambda: not faults.pending(torn), HAPPEN_SECONDS)


async def sequence_gap(scene: Scene, chance: Random) -> bool:
    """Drop frames of several streams."""
    faults = scene.simulator.faults
    chosen = chance.sample(BUSY, 4)
    for stream in chosen:
        faults.lose(stream, chance.randint(1, 40))
    return await came(lambda: not any(map(faults.pending, chosen)), HAPPEN_SECONDS)


async def duplicate_frames(scene: Scene, chance: Random) -> bool:
    faults = scene.simulator.faults
    chosen = chance.sample(BUSY, 6)
    for stream in chosen:
        faults.repeat(stream, chance.randint(1, 100))
    return await came(lambda: not any(map(faults.pending, chosen)), HAPPEN_SECONDS)


async def reordered_frames(scene: Scene, chance: Random) -> bool:
    faults = scene.simulator.faults
    chosen = chance.sample(BUSY, 6)
    for stream in chosen:
        faults.reorder(stream, chance.randint(1, 20))
    return await came(lambda: not any(map(faults.pending, chosen)), HAPPEN_SECONDS)


FAULTS = {
    "rest_429": refusing(429, 1),
    "rest_418": refusing(418, 2),
    "rest_5xx": refusing(503, None),
    "silence": silence,
    "partial_frames": partial_frames,
    "sequence_gap": sequence_gap,
    "duplicate_frames": duplicate_frames,
    "reordered_frames": reordered_frames,
}
