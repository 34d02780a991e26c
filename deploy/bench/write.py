"""The write path against psql: records in memory through queue, writer and batch writer until they are committed.

https://www.postgresql.org/docs/current/app-psql.html#APP-PSQL-META-COMMANDS-COPY. psql reads the same rows from a file that is
written before the measurement. The write path must encode the rows, and commits every batch, as in the daemon.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence

from bench.result import Place, Result, Round, compared, read_settings
from bench.stored import Checksum, checksum, empty, require, stored
from ingest.config.sections import Queue
from ingest.counters import Tally
from ingest.daemon.write_path import limits_of
from ingest.pipeline.copy_encoder import encoder
from ingest.pipeline.table_queue import TableQueue
from ingest.pipeline.writer import Writer
from ingest.records import Trade
from ingest.store.batch_writer import BatchWriter
from ingest.store.pool import open_pool
from ingest.store.rollup import is_rolled_up
from ingest.store.ts_edition import detect
from ingest.tables import TRADES

ROWS = 400_000
ROUNDS = 5
INSTRUMENTS = 100
DAY_US = 86_400_000_000
RESENT_AFTER = 50  # rows between a row and its duplicate
YIELD_ROWS = 100  # after about as many rows as a read of a socket has, other tasks run

COLUMNS = ("instrument_id", "time", "trade_id", "price", "size", "side", "received_at", "native_id")
VALUES = (
    "instrument_id",
    "(extract(epoch FROM time) * 1000000)::bigint",
    "trade_id",
    "price",
    "size",
    "side",
    "(extract(epoch FROM received_at) * 1000000)::bigint",
)
COPY = r"\copy trades ({}) from '{}'"
STAGED = """BEGIN;
CREATE TEMP TABLE stage (LIKE trades) ON COMMIT DROP;
\\copy stage ({0}) from '{1}'
INSERT INTO trades ({0}) SELECT {0} FROM stage ORDER BY instrument_id, time, trade_id ON CONFLICT DO NOTHING;
COMMIT;
"""


def trades(rows: int) -> Iterator[Trade]:
    """Trades of 100 instruments on one past day, one every 20 ms, with Binance's eight decimals and milliseconds."""
    start = time.time_ns() // 1000 // DAY_US * DAY_US - DAY_US
    for i in range(rows):
        at = start + i * 20_000 * ROWS // max(rows, ROWS)
        price, size = f"{16_578 + i % 997}.{i % 100:02d}000000", f"{i % 13}.{1 + i % 99_991:08d}"
        yield Trade(1 + i % INSTRUMENTS, at - at % 1000, 10_000_000 + i, price, size, "buy" if i % 3 else "sell", at + 31_234)


def with_duplicates(once: Sequence[Trade]) -> list[Trade]:
    """Repeats every hundredth row 50 rows later, as when two connections overlap."""
    sent = []
    for index, trade in enumerate(once):
        sent.append(trade)
        if index % 100 == 99:
            sent.append(once[index - RESENT_AFTER])
    return sent


def sent_checksum(rows: Sequence[Trade]) -> Checksum:
    return checksum((r.instrument_id, r.time, r.trade_id, r.price, r.size, r.side, r.received_at) for r in rows)


async def write(place: Place, rows: int | None) -> Result:
    """COPY, the first strategy of the batch writer, against psql's COPY."""
    once = list(trades(rows or ROWS))
    script = COPY.format(", ".join(COLUMNS), "{}")
    return await _compare("write", place, once=once, sent=once, script=script, command=r"psql: \copy trades from FILE")


async def write_duplicates(place: Place, rows: int | None) -> Result:
    """The strategy with a temporary table, which the batch writer uses while duplicates arrive."""
    once = list(trades(rows or ROWS))
    script = STAGED.format(", ".join(COLUMNS), "{}")
    command = (
        r"psql: \copy into a temporary table; INSERT INTO trades SELECT ... ORDER BY key ON CONFLICT DO NOTHING; one transaction"
    )
    return await _compare("write_duplicates", place, once=once, sent=with_duplicates(once), script=script, command=command)


async def _compare(name: str, place: Place, *, once: list[Trade], sent: list[Trade], script: str, command: str) -> Result:
    connection, expected, rounds = place.connection, sent_checksum(once), []
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", dir=".local") as file:
        file.writelines(map(encoder(TRADES), sent))
        file.flush()
        for _ in range(ROUNDS):
            await empty(connection, "trades")
            reference = await by_psql(place, script.format(file.name))
            require(await stored(connection, "trades", VALUES), expected, f"{name}, psql")
            await empty(connection, "trades")
            seconds = await by_ingest(place, sent)
            require(await stored(connection, "trades", VALUES), expected, f"{name}, ingest")
            rounds.append(Round(value=round(len(sent) / seconds), reference=round(len(sent) / reference)))
    return compared(name, rounds, rows=len(sent), command=command, settings=await read_settings(connection))


async def by_psql(place: Place, script: str) -> float:
    """Seconds to run the script, including the start of psql."""
    started = time.perf_counter()
    options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", place.dsn]
    process = await asyncio.create_subprocess_exec(place.psql, *options, stdin=subprocess.PIPE)
    await process.communicate(script.encode())
    if process.returncode:
        raise RuntimeError(f"psql ended with {process.returncode}; its output is above")
    return time.perf_counter() - started


async def by_ingest(place: Place, rows: Sequence[Trade]) -> float:
    """Seconds until the last commit, including the opening of connections, with the daemon's parts and default settings."""
    section = Queue()
    pool = await open_pool(place.dsn, 8)
    edition = (await detect(place.connection)).edition
    queue = TableQueue(
        TRADES,
        Tally(TRADES.name),
        limits_of(section),
        on_gap=_no_gap,
        retention_seconds=_retention(),
        mark_minutes=is_rolled_up(TRADES.name, edition),
    )
    writer = Writer(queue, BatchWriter(TRADES, pool, edition).write, workers=section.workers)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        work = group.create_task(writer.run())
        for index, row in enumerate(rows):
            wait = queue.put(row)
            if wait is not None:
                await wait
            if not index % YIELD_ROWS:
                await asyncio.sleep(0)
        await writer.drain()
        seconds = time.perf_counter() - started
        work.cancel()
    await pool.close()
    return seconds


def _retention() -> float | None:
    return None if TRADES.retention is None else TRADES.retention.total_seconds()


def _no_gap(gap: object) -> None:
    raise RuntimeError(f"the queue shed rows, which the benchmark does not count: {gap}")
