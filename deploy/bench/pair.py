"""The cost of a second daemon on the same instruments: two writers write the same trades into one table, against a single writer.

https://www.postgresql.org/docs/current/sql-insert.html#SQL-ON-CONFLICT. The second writer of a row finds it stored, and uses a
temporary table from then on. The value is stored rows per second, each row counted once. Both writers run in this process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench.durability import put_all
from bench.result import Place, Result, Round, compared, read_settings
from bench.stored import empty, require, stored
from bench.write import VALUES, sent_checksum, trades
from ingest.config.settings import Settings
from ingest.counters import Counters
from ingest.daemon.write_path import build_write_path, limits_of
from ingest.pipeline.writer import Writer
from ingest.protocol.session import Gap
from ingest.records import Trade
from ingest.store.pool import Pool, open_pool
from ingest.store.ts_edition import detect

ROWS = 200_000
ROUNDS = 5


async def pair(place: Place, rows: int | None) -> Result:
    """Two writers against a single writer."""
    sent = list(trades(rows or ROWS))
    expected, rounds = sent_checksum(sent), []
    for _ in range(ROUNDS):
        rates = []
        for daemons in (1, 2):
            await empty(place.connection, "trades")
            rates.append(round(len(sent) / await _seconds(place, sent, daemons)))
            require(await stored(place.connection, "trades", VALUES), expected, f"pair, {daemons}")
        rounds.append(Round(value=rates[1], reference=rates[0]))
    settings = await read_settings(place.connection)
    return compared("pair", rounds, rows=len(sent), command="one writer of the same rows", settings=settings)


async def _seconds(place: Place, rows: Sequence[Trade], daemons: int) -> float:
    """Seconds until the last writer is done."""
    pools = [await open_pool(place.dsn, 8) for _ in range(daemons)]
    writers = [await _writer(place, pool) for pool in pools]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(writer.run()) for writer in writers]
        started = time.perf_counter()
        await asyncio.gather(*(_write_all(writer, rows) for writer in writers))
        seconds = time.perf_counter() - started
        for task in tasks:
            task.cancel()
    for pool in pools:
        await pool.close()
    return seconds


async def _writer(place: Place, pool: Pool) -> Writer:
    settings = Settings(database={"dsn": place.dsn})
    info = await detect(place.connection)
    path = build_write_path(settings, limits_of(settings.queue), info=info, pool=pool, counters=Counters(), on_gap=_no_gap)
    return path.writers["trades"]


async def _write_all(writer: Writer, rows: Sequence[Trade]) -> None:
    await put_all(writer.queue.put, rows)
    await writer.drain()


def _no_gap(gap: Gap) -> None:
    raise RuntimeError(f"a queue shed rows, which the benchmark does not count: {gap}")
