"""Faults of the daemon itself, its spool and its clock."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from chaos.scene import Scene
from chaos.waiting import came

SPOOLED_SECONDS = 10.0


async def kill(scene: Scene, chance: Random) -> bool:
    async with scene.process:
        await scene.daemon.kill()
        await asyncio.sleep(chance.uniform(0, 2))
        await scene.daemon.start()
    return True


async def terminate(scene: Scene, chance: Random) -> bool:
    async with scene.process:
        await scene.daemon.terminate()
        await asyncio.sleep(chance.uniform(0, 2))
        await scene.daemon.start()
    return True


async def spool_full(scene: Scene, chance: Random) -> bool:
    """Pause the database, so that rows go to the spool, whose disk is full."""
    assert scene.spool_disk is not None
    async with scene.database:
        scene.spool_disk.fill()
        await asyncio.to_thread(scene.servers.primary.pause)
        await asyncio.sleep(chance.uniform(2, 4))
        scene.spool_disk.clear()
        await asyncio.sleep(chance.uniform(0, 1))
        await asyncio.to_thread(scene.servers.primary.resume)
    return True


async def spool_flip(scene: Scene, chance: Random) -> bool:
    """Pause the database until rows are spooled, kill the daemon, and flip a bit of the spool before the next process reads it."""
    async with scene.process, scene.database:
        await asyncio.to_thread(scene.servers.primary.pause)
        await came(lambda: bool(_segments(scene.spool)), SPOOLED_SECONDS)
        await scene.daemon.kill()
        segments = _segments(scene.spool)
        if segments:
            _flip(chance.choice(segments), chance)
        await asyncio.to_thread(scene.servers.primary.resume)
        await scene.daemon.start()
    return bool(segments)


def _segments(folder: Path) -> list[Path]:
    """The spool files that have rows: those above 1,000 bytes."""
    return sorted(path for path in folder.glob("*") if path.is_file() and path.suffix != ".bad" and path.stat().st_size > 1000)


def _flip(path: Path, chance: Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


async def clock_step(scene: Scene, chance: Random) -> bool:
    """Step the daemon's clock by up to a minute, for one to four seconds."""
    seconds = chance.choice([-1, 1]) * chance.randint(2, 60)
    scene.clock.write_text(f"{seconds:+d}\n")
    await asyncio.sleep(chance.uniform(1, 4))
    scene.clock.write_text("+0\n")
    return True


FAULTS = {
    "daemon_kill": kill,
    "daemon_term": terminate,
    "spool_full": spool_full,
    "spool_flip": spool_flip,
    "clock_step": clock_step,
}
