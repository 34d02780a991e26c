"""Faults of the database and of the connection to it. Each fault repairs what it broke, except lost rows.

Each returns whether it happened: for example, a connection without traffic is not cut.
"""

from __future__ import annotations

import asyncio
from random import Random

from cluster import ClusterError
from line import COMMIT

from chaos.scene import Scene
from chaos.waiting import came

CUT_SECONDS = 5.0
LOCK_TRIES = 20
WAIT_SECONDS = 0.3

_DROP = """
    BEGIN;
    SET LOCAL lock_timeout = '500 ms';
    LOCK TABLE trades IN ACCESS EXCLUSIVE MODE;
    SELECT i.symbol, t.trade_id FROM trades t JOIN instruments i ON i.id = t.instrument_id;
    SELECT format('dropped %s', drop_chunks('trades', older_than => now() + interval '2 days'));
    COMMIT"""
_COMPRESS = """
    SET lock_timeout = '500 ms';
    SELECT compress_chunk(chunk, if_not_compressed => true) FROM show_chunks('trades') chunk"""


async def kill(scene: Scene, chance: Random) -> bool:
    async with scene.database:
        await asyncio.to_thread(scene.servers.primary.kill)
        await asyncio.sleep(chance.uniform(0.1, 2))
        await asyncio.to_thread(scene.servers.primary.start)
    return True


async def stop(scene: Scene, chance: Random) -> bool:
    async with scene.database:
        await asyncio.to_thread(scene.servers.primary.pause)
        await asyncio.sleep(chance.uniform(0.5, 4))
        await asyncio.to_thread(scene.servers.primary.resume)
    return True


async def restart(scene: Scene, chance: Random) -> bool:
    async with scene.database:
        await asyncio.to_thread(scene.servers.primary.restart)
    return True


async def failover_sync(scene: Scene, chance: Random) -> bool:
    """Fail over to the standby and back. Each time the standby has all acknowledged commits."""
    async with scene.database:
        for _ in range(2):
            await scene.servers.follow(synchronous=True)
            await asyncio.sleep(chance.uniform(0.2, 1))
            await scene.servers.fail_over()
            scene.redirect()
            await asyncio.sleep(chance.uniform(0.2, 1))
    return True


async def failover_async(scene: Scene, chance: Random) -> bool:
    """The standby stops receiving before the primary is killed, so that later commits are lost."""
    async with scene.database:
        await scene.servers.follow(synchronous=False)
        await scene.servers.set("primary_conninfo", "", on_standby=True)
        await asyncio.sleep(chance.uniform(1, 3))
        had = (await scene.fetch("SELECT count(*) FROM trades"))[0][0]
        await scene.servers.fail_over()
        kept = (await scene.fetch("SELECT count(*) FROM trades"))[0][0]
        scene.redirect()
    return bool(kept < had)


async def disk_full(scene: Scene, chance: Random) -> bool:
    assert scene.database_disk is not None
    async with scene.database:
        scene.database_disk.fill()
        await asyncio.sleep(chance.uniform(1, 4))
        scene.database_disk.clear()
    return True


async def slow_commits(scene: Scene, chance: Random) -> bool:
    for line in scene.lines:
        line.commit_seconds = chance.uniform(0.3, 1.5)
    await asyncio.sleep(chance.uniform(2, 5))
    for line in scene.lines:
        line.commit_seconds = 0.0
    return True


async def cut_copy(scene: Scene, chance: Random) -> bool:
    async with scene.database:
        cuts = sum(line.cuts for line in scene.lines)
        for line in scene.lines:
            line.cut_within(b'COPY "trades"', chance.randint(20, 2000))
        return await _cut(scene, cuts)


async def cut_commit(scene: Scene, chance: Random) -> bool:
    async with scene.database:
        cuts = sum(line.cuts for line in scene.lines)
        for line in scene.lines:
            line.cut_after(COMMIT)
        return await _cut(scene, cuts)


async def _cut(scene: Scene, before: int) -> bool:
    happened = await came(lambda: sum(line.cuts for line in scene.lines) > before, CUT_SECONDS)
    for line in scene.lines:
        line.cancel_cut()
    return happened


async def dns_gone(scene: Scene, chance: Random) -> bool:
    assert scene.names is not None
    async with scene.database:
        scene.names.remove()
        for line in scene.lines:
            line.cut()
        await asyncio.sleep(chance.uniform(1, 4))
        scene.names.restore()
    return True


async def pooler(scene: Scene, chance: Random) -> bool:
    """Kill the pooler, which all connections of the writers pass, and start it again."""
    assert scene.pooler is not None
    async with scene.database:
        scene.pooler.kill()
        await asyncio.sleep(chance.uniform(0.1, 1.5))
        scene.pooler.start()
    return True


async def chunk_compress(scene: Scene, chance: Random) -> bool:
    async with scene.database:
        return bool(await _with_retry(scene, _COMPRESS))


async def chunk_drop(scene: Scene, chance: Random) -> bool:
    """Drop the chunk and remember its rows, so that they do not count as missing. Rows that are written later must be stored."""
    async with scene.database:
        output = (await _with_retry(scene, _DROP)).splitlines()
    pairs = [line.split("|") for line in output if "|" in line]
    scene.dropped |= {(symbol, int(trade_id)) for symbol, trade_id in pairs}
    return bool(pairs) and any(line.startswith("dropped") for line in output)


async def _with_retry(scene: Scene, statements: str) -> str:
    """Repeat until the locks are granted, because writers hold them most of the time."""
    for _ in range(LOCK_TRIES):
        try:
            if output := await scene.servers.sql(statements, "market"):
                return output  # else there is no chunk yet
            await asyncio.sleep(WAIT_SECONDS)
        except ClusterError as error:
            if "lock timeout" not in str(error) and "deadlock" not in str(error):
                raise
    return ""


FAULTS = {
    "database_kill": kill,
    "database_stop": stop,
    "database_restart": restart,
    "failover_sync": failover_sync,
    "failover_async": failover_async,
    "disk_full": disk_full,
    "slow_commits": slow_commits,
    "cut_copy": cut_copy,
    "cut_commit": cut_commit,
    "dns_gone": dns_gone,
    "pooler": pooler,
    "chunk_compress": chunk_compress,
    "chunk_drop": chunk_drop,
}
