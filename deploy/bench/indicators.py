"""The time from a minute's candles to their committed indicators, and the rate of indicators of a past range.

Candles go through the daemon's write path, while all maintenance tasks run. The measured minutes are the latest; VWAP and OBV read
more rows the later in the day (UTC) it is. `value` is the limit divided by the 95th percentile.
https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-COMMIT-TIMESTAMP. The time ends at the last commit.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from statistics import median

from bench.result import Connection, Place, Result, read_settings
from bench.stored import Wrong, empty
from ingest.config.settings import Settings
from ingest.daemon.maintenance import Maintenance
from ingest.daemon.maintenance_spec import maintenance_spec
from ingest.daemon.write_path import build_write_path, limits_of
from ingest.metrics import Metrics
from ingest.pipeline.table_queue import TableQueue
from ingest.protocol.session import Gap
from ingest.records import Candle
from ingest.sources.run_state import State
from ingest.store.indicator_dirty_ranges import mark, ranges_of_candles
from ingest.store.indicators import compute
from ingest.store.pool import open_pool
from ingest.store.ts_edition import detect

INSTRUMENTS = 100
HISTORY_MINUTES = 2_000  # before the measured minutes; longer than any indicator's window
MINUTES = 20
LIMIT_SECONDS = 2.0
PAST = 10  # instruments of the past range
PAST_MINUTES = 1_440

# One price path for each instrument, with eight decimals.
HISTORY = """
    INSERT INTO candles (instrument_id, interval, time, open, high, low, close, volume, parts, origin, received_at)
    SELECT one, '1m', time, price, price + 10, price - 10, (price + 5 * sin(n * one))::numeric(18, 8), 1 + n % 7, 1, 'rest', time
      FROM generate_series(1, $1::int) one,
           generate_series($2::timestamptz, $3::timestamptz, '1 minute') WITH ORDINALITY AS minutes (time, n),
           LATERAL (SELECT (50000 + 500 * sin(n / 90.0 + one) + 40 * cos(n * 0.7))::numeric(18, 8) AS price) walk"""
STORED = """
    SELECT count(*), extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float8 FROM indicators
     WHERE interval = '1m' AND time = $1"""


async def indicators(place: Place, rows: int | None) -> Result:
    """The limit divided by the 95th percentile over the minutes; `rows` is the number of instruments."""
    count = rows or INSTRUMENTS
    settings = Settings.model_validate({"database": {"dsn": place.dsn, "admin_dsn": place.dsn}})
    await empty(place.connection, "candles", "indicators", "indicators_dirty", "rollup_dirty")
    begun = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=MINUTES)
    first = begun - timedelta(minutes=HISTORY_MINUTES)
    await place.connection.execute(HISTORY, count, first, begun - timedelta(minutes=1))
    await place.connection.execute("ANALYZE candles")
    expected = count * len(settings.indicators.names)
    async with _daemon(place, settings) as queue:
        minutes = [begun + timedelta(minutes=minute) for minute in range(MINUTES)]
        took = [await _minute(place.connection, queue, count, minute, expected) for minute in minutes]
    per_second = await _past(place.connection, settings, first, min(count, PAST))
    p95 = sorted(took)[math.ceil(0.95 * len(took)) - 1]
    figures = {"p50_s": round(median(took), 3), "p95_s": round(p95, 3), "max_s": round(max(took), 3)}
    return Result(
        name="indicators",
        value=round(LIMIT_SECONDS / p95, 3),
        unit=f"times within {LIMIT_SECONDS:.0f} s",
        reference=1.0,
        ratio=round(LIMIT_SECONDS / p95, 3),
        better="higher",
        rows=expected,
        seconds=round(p95, 3),
        reference_command="none: the reference is the limit",
        settings=await read_settings(place.connection) | figures | {"past_candles_per_s": round(per_second)},
    )


@asynccontextmanager
async def _daemon(place: Place, settings: Settings) -> AsyncIterator[TableQueue]:
    """Runs the daemon's write path and maintenance. Yields the queue of candles."""
    metrics = Metrics()
    pool = await open_pool(place.dsn, settings.database.pool_size)
    path = build_write_path(
        settings,
        limits_of(settings.queue),
        info=await detect(place.connection),
        pool=pool,
        counters=metrics.counters,
        on_gap=_no_gap,
    )
    maintenance = Maintenance(place.dsn, "bench", maintenance_spec(settings), metrics)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in (path.run(), maintenance.run())]
        while maintenance.states["indicators"].state == State.WAITING:  # noqa: ASYNC110 - a state has no event
            await asyncio.sleep(0.05)
        yield path.queues["candles"]
        for task in tasks:
            task.cancel()
    pool.terminate()


async def _minute(connection: Connection, queue: TableQueue, count: int, begun: datetime, expected: int) -> float:
    """Seconds from the arrival of one minute's candles until the last of their indicators is committed."""
    started = time.time()
    for instrument_id in range(1, count + 1):
        if wait := queue.put(_candle(instrument_id, begun)):
            await wait
    async with asyncio.timeout(60):
        while True:  # polls seldom, because the query takes server time
            found, committed = await connection.fetchrow(STORED, begun)
            if found == expected:
                return committed - started
            await asyncio.sleep(0.05)


def _candle(instrument_id: int, begun: datetime) -> Candle:
    price, micros = 50_000 + instrument_id + begun.minute, int(begun.timestamp()) * 1_000_000
    digits = (f"{price}.01", f"{price + 9}.5", f"{price - 9}.25", f"{price + 1}.75", "2.5")
    return Candle(instrument_id, "1m", micros, *digits, *[None] * 6, 1, "ws", time.time_ns() // 1000)


async def _past(connection: Connection, settings: Settings, first: datetime, instruments: int) -> float:
    """Candles per second of a range without indicators. Raises Wrong if a second computation changes a value."""
    selection = maintenance_spec(settings).indicators
    since = int(first.timestamp()) // 60
    ends = [(one, since + minute) for one in range(1, instruments + 1) for minute in (0, PAST_MINUTES - 1)]
    rates = []
    for _ in range(2):
        async with connection.transaction():
            await mark(connection, ranges_of_candles("1m", ends))
        started, done = time.perf_counter(), await compute(connection, selection)
        step = done
        while step.taken:
            done += (step := await compute(connection, selection))
        rates.append(instruments * PAST_MINUTES / (time.perf_counter() - started))
    if done.written or done.revised:
        raise Wrong(f"indicators: the second computation wrote {done.written} values and revised {done.revised}; right would be 0")
    return rates[0]


def _no_gap(gap: Gap) -> None:
    raise RuntimeError(f"the queue shed rows, which the benchmark does not count: {gap}")
