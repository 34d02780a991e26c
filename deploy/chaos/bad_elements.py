"""Faults of the exchange that are about one element: a symbol, a stream, a level, a time, a message that is not documented.

What the bad element was not part of must be stored: see `judge_beside.py`. Each fault returns whether it happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from random import Random

from chaos.exchange_faults import DEPTH, HAPPEN_SECONDS
from chaos.scene import STREAMS, SYMBOLS, TRADE_KIND, Beside, Scene
from chaos.waiting import came

NOTICES = (("rateLimitNotice", "Limits change on Monday"), ("symbolStatus", "New pairs are listed"), ("ping", ""))
MAINTENANCE = ("systemNotice", "Scheduled maintenance: connections will be closed in 3 seconds")
NOTICE_SECONDS = 3.0  # between the announcement and the end of the connections
AFTER_SECONDS = 1.0  # in which the other symbols go on
FLOOD_FRAMES = (20_000, 60_000)


@asynccontextmanager
async def beside(scene: Scene, symbols: Collection[str]) -> AsyncIterator[None]:
    """Marks the time of the block as one in which only these symbols may lose rows."""
    since = time.time_ns() // 1_000_000
    yield
    scene.beside.append(Beside(since, time.time_ns() // 1_000_000, frozenset(symbols)))


async def symbol_refused(scene: Scene, chance: Random) -> bool:
    """Refuse one symbol, and disconnect, so that everything is subscribed again. The symbol is accepted some seconds later."""
    symbol, faults = chance.choice(SYMBOLS), scene.simulator.faults
    others = [stream for stream in STREAMS if not stream.startswith(symbol.lower())]
    faults.refuse_symbol(symbol)
    await scene.simulator.disconnect(abruptly=True)
    await asyncio.sleep(chance.uniform(0.2, 1))
    followed = await came(lambda: all(map(scene.simulator.has_subscriber, others)), HAPPEN_SECONDS)
    async with beside(scene, [symbol]):
        await asyncio.sleep(chance.uniform(1, 3))
    return faults.accept_symbol(symbol) > 0 and followed


async def acknowledged_silence(scene: Scene, chance: Random) -> bool:
    """Disconnect, acknowledge every subscription, and send nothing on one of them."""
    stream = chance.choice(STREAMS)
    scene.simulator.faults.silence(stream)
    await scene.simulator.disconnect(abruptly=True)
    happened = await came(lambda: scene.simulator.has_subscriber(stream), HAPPEN_SECONDS)
    async with beside(scene, [_symbol(stream)]):
        await asyncio.sleep(chance.uniform(1.5, 4))
    scene.simulator.faults.end_silence()
    return happened


async def notice(scene: Scene, chance: Random) -> bool:
    """Send unknown messages, then announce maintenance, and close the connections that are still open after it."""
    happened = await _has_clients(scene)
    async with beside(scene, []):
        for _ in range(chance.randint(1, 20)):
            scene.simulator.announce(*chance.choice(NOTICES))
            await asyncio.sleep(0.02)
    before = set(scene.simulator.listeners)
    scene.simulator.announce(*MAINTENANCE)
    await asyncio.sleep(NOTICE_SECONDS)
    for listener in before & scene.simulator.listeners:
        listener.abort()
    return happened


async def odd_level(scene: Scene, chance: Random) -> bool:
    """Send an impossible level in some depth updates of one symbol, and in the snapshots that are then requested."""
    faults, symbol = scene.simulator.faults, chance.choice(SYMBOLS)
    stream = f"{symbol.lower()}@depth@100ms"
    async with beside(scene, [symbol]):
        faults.add_odd_level(DEPTH, chance.randint(1, 2))
        faults.add_odd_level(stream, chance.randint(1, 5))
        happened = await came(lambda: not faults.pending(stream) and not faults.pending(DEPTH), HAPPEN_SECONDS)
        await asyncio.sleep(AFTER_SECONDS)
    return happened


async def far_time(scene: Scene, chance: Random) -> bool:
    """Send messages of the year 9999 beside the trades and bars of one symbol, and instead of its depth updates."""
    faults, symbol = scene.simulator.faults, chance.choice(SYMBOLS)
    streams = [f"{symbol.lower()}@{kind}" for kind in (TRADE_KIND, "depth@100ms", "kline_1m")]
    async with beside(scene, [symbol]):
        for stream in streams:
            faults.send_far(stream, chance.randint(1, 5) if not stream.endswith("kline_1m") else 1)
        happened = await came(lambda: not any(map(faults.pending, streams)), HAPPEN_SECONDS)
        await asyncio.sleep(AFTER_SECONDS)
    return happened


async def flood(scene: Scene, chance: Random) -> bool:
    """Send empty messages as fast as they are read."""
    happened = await _has_clients(scene)
    await scene.simulator.flood(chance.randint(*FLOOD_FRAMES))
    return happened


async def _has_clients(scene: Scene) -> bool:
    """Whether a client is connected, or connects soon: other faults may have disconnected it."""
    return await came(lambda: bool(scene.simulator.listeners), HAPPEN_SECONDS)


def _symbol(stream: str) -> str:
    return stream.partition("@")[0].upper()


FAULTS = {
    "symbol_refused": symbol_refused,
    "acknowledged_silence": acknowledged_silence,
    "notice": notice,
    "odd_level": odd_level,
    "far_time": far_time,
    "flood": flood,
}
