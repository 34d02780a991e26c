"""The cost of each durability: the same trades through the daemon's write path until they are committed, against `memory`.

https://man7.org/linux/man-pages/man2/fsync.2.html. `durability_always_fsync` depends on the disk, because some disks acknowledge an
fsync without syncing. `durability_spool` should equal `memory`, because the spool is not used while the database keeps up.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from bench.result import Place, Result, Round, compared, read_settings
from bench.stored import empty, require, stored
from bench.write import VALUES, YIELD_ROWS, sent_checksum, trades
from ingest.config.settings import Settings
from ingest.counters import Counters
from ingest.daemon.write_path import build_write_path, limits_of, open_configured_spool
from ingest.protocol.session import Gap
from ingest.records import Trade
from ingest.store.pool import open_pool
from ingest.store.ts_edition import detect

ROWS = 200_000
ROUNDS = 5


async def spool(place: Place, rows: int | None) -> Result:
    """`durability = "spool"`: the spool is not used, because the database keeps up."""
    return await _compare("durability_spool", place, rows, durability="spool", fsync="1s")


async def always(place: Place, rows: int | None) -> Result:
    """`durability = "always"`: every batch is written to the spool before its rows count, and synced once a second."""
    return await _compare("durability_always", place, rows, durability="always", fsync="1s")


async def always_fsync(place: Place, rows: int | None) -> Result:
    """`durability = "always"`, `spool.fsync = "always"`: every batch is written to the spool and synced before its rows count."""
    return await _compare("durability_always_fsync", place, rows, durability="always", fsync="always")


async def _compare(name: str, place: Place, rows: int | None, *, durability: str, fsync: str) -> Result:
    sent = list(trades(rows or ROWS))
    expected, rounds = sent_checksum(sent), []
    with tempfile.TemporaryDirectory(dir=".local") as folder:
        section = {"path": folder, "fsync": fsync}
        ways: list[dict[str, Any]] = [{"durability": "memory"}, {"durability": durability, "spool": section}]
        for _ in range(ROUNDS):
            measured = []
            for way in ways:
                await empty(place.connection, "trades")
                measured.append(await _seconds(place, sent, way))
                require(await stored(place.connection, "trades", VALUES), expected, f"{name}, {way['durability']}")
            (reference, _), (seconds, cpu) = measured
            per_row = round(cpu / len(sent) * 1e6, 2)
            rounds.append(Round(value=round(len(sent) / seconds), reference=round(len(sent) / reference), cpu_us_per_row=per_row))
        _require_empty(Path(folder))
    settings = await read_settings(place.connection) | {"durability": durability, "spool.fsync": fsync}
    return compared(name, rounds, rows=len(sent), command='ingest with durability = "memory"', settings=settings)


async def _seconds(place: Place, rows: Sequence[Trade], way: dict[str, Any]) -> tuple[float, float]:
    """Elapsed and CPU seconds from the first row until the last is committed, without opening and closing."""
    settings, counters = Settings(database={"dsn": place.dsn}, **way), Counters()
    spool = await open_configured_spool(settings, counters.errors)
    pool, info = await open_pool(place.dsn, 8), await detect(place.connection)
    limits = limits_of(settings.queue)
    path = build_write_path(settings, limits, info=info, pool=pool, counters=counters, on_gap=_no_gap, spool=spool)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(path.run())
        started, cpu = time.perf_counter(), time.process_time()
        await put_all(path.queues["trades"].put, rows)
        await path.writers["trades"].drain()
        taken = time.perf_counter() - started, time.process_time() - cpu
        running.cancel()
    if path.spills is not None:
        await path.spills.end()
    await pool.close()
    return taken


def _require_empty(folder: Path) -> None:
    if left := [path.name for path in folder.glob("*.spool")]:
        raise RuntimeError(f"the spool still has {left}: not every row was committed")


async def put_all(put: Callable[[Trade], Awaitable[None] | None], rows: Sequence[Trade]) -> None:
    """Put the rows into a queue, wait while it is full, and let other tasks run as between frames."""
    for index, row in enumerate(rows):
        wait = put(row)
        if wait is not None:
            await wait
        if not index % YIELD_ROWS:
            await asyncio.sleep(0)


def _no_gap(gap: Gap) -> None:
    raise RuntimeError(f"the queue shed rows, which the benchmark does not count: {gap}")
